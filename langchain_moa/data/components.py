"""What a Runnable is made of, as far as it declares it: fields, bound arguments, steps, fallbacks, nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol
from pydantic import BaseModel

from langchain_moa._compat import default_settings, remote_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# A longer list is data, such as recorded answers.
_MANY = 500


def components_of(whole: object, *, enters: Callable[[Any], bool] = lambda _: True) -> Iterator[tuple[str, Any]]:
    """Yield what something is made of, each part with the name that it has there.

    Chains, bindings, retries, fallbacks and alternatives declare their parts as fields, a function its `deps`, a compiled graph
    its `nodes`. What a function of a graph's node refers to is not declared and not found.

    Args:
        whole: A Runnable, embeddings, a strategy, or several of them in a list; it comes first.
        enters: Whether to look into a part. Default: into all.
    """
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any]] = [("", whole)]
    while waiting:
        name, part = waiting.pop()
        yield name, part
        if id(part) not in seen and enters(part):
            # Kept, so that no other object gets its id.
            seen[id(part)] = part
            waiting.extend((each or name, inner) for each, inner in _inner(part))


def _inner(part: Any) -> Iterable[tuple[str, Any]]:
    inner: Iterable[tuple[str, Any]] = ()
    match part:
        case Mapping() if len(part) <= _MANY:
            inner = [(str(name), each) for name, each in [*part.items()]]
        case list() | tuple() if len(part) <= _MANY:
            inner = [("", each) for each in part]
        case Pregel():
            # Its checkpointer and its store hold what was said, not what it is made of.
            inner = [(name, node.bound) for name, node in part.nodes.items()]
        case PregelProtocol():
            inner = remote_headers(part).items()
        case BaseModel():
            inner = [(name, getattr(part, name, None)) for name in type(part).model_fields]
        case _ if is_dataclass(part) and not isinstance(part, type):
            inner = [(each.name, getattr(part, each.name, None)) for each in fields(part)]
        case Runnable() | Embeddings():
            public = [(name, each) for name, each in [*vars(part).items()] if not name.startswith("_")]
            inner = [*public, *(default_settings(part) or {}).items()]
            if hasattr(type(part), "deps"):
                inner = [*inner, *(("", each) for each in _dependencies(part))]
        case _ if not isinstance(part, type) and isinstance(headers := getattr(part, "headers", None), Mapping):
            # An HTTP client of the user's.
            inner = headers.items()
    return inner


def _dependencies(part: Any) -> list[Any]:
    try:
        return list(part.deps)
    except Exception:  # noqa: BLE001  # LangChain reads the function's source, which may be missing or another file's
        return []
