"""Components of Runnables, as far as they are declared: fields, bound arguments, steps, fallbacks, nodes of a graph."""

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

# Longer lists and mappings are data, such as recorded answers, and are not searched.
_MANY = 500


def components_of(whole: object, *, enters: Callable[[Any], bool] = lambda _: True) -> Iterator[tuple[str, Any]]:
    """Yield an object and all of its components, each with the name of the field or key that holds it.

    Chains, bindings, retries, fallbacks and alternatives declare components as fields, functions as `deps`, compiled graphs as
    `nodes`. Objects that the function of a graph's node refers to are not declared, so they are not found.

    Args:
        whole: A Runnable, embeddings, a strategy, or a list of them. It is yielded first, with an empty name.
        enters: Returns whether to search a component. Default: all are searched.
    """
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any]] = [("", whole)]
    while waiting:
        name, part = waiting.pop()
        yield name, part
        if id(part) not in seen and enters(part):
            # Keep a reference, so that the id is not reused for another object.
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
            # The checkpointer and the store hold conversations, not components.
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
            # An HTTP client.
            inner = headers.items()
    return inner


def _dependencies(part: Any) -> list[Any]:
    try:
        return list(part.deps)
    except Exception:  # noqa: BLE001  # LangChain parses the function's source, which may be missing or wrong
        return []
