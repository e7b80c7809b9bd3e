"""What is inside a Runnable, however it is put together: chains, fallbacks, graphs, functions, clients."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import partial
from logging import Logger
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable
from langgraph.pregel import Pregel
from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# What is near is found first; what lies beyond so many parts is data, not the make of a Runnable.
_MOST = 5_000

# So many things of a kind are data as well.
_MANY = 500

# How far objects are followed of which nothing is known here: no client has its key deeper inside.
_FARTHEST = 3

_WHOLE = (str, bytes, int, float, complex, type(None), type, ModuleType, Logger, SecretStr)


def parts_of(whole: object, *, enters: Callable[[Any], bool] = lambda _: True) -> Iterator[tuple[str, Any]]:
    """Yield what something is made of, the nearest first, each with the name that it stands under.

    Functions are asked for the objects that they refer to, so that a node of a graph shows the model that it calls.

    Args:
        whole: A Runnable, a strategy, or several of them in a list; it comes first.
        enters: Whether to look into a part. Default: into all.
    """
    seen: dict[int, Any] = {}
    waiting: deque[tuple[str, Any, int]] = deque([("", whole, 0)])
    for _ in range(_MOST):
        if not waiting:
            return
        name, part, distance = waiting.popleft()
        if isinstance(part, _WHOLE):
            yield name, part
            continue
        if id(part) in seen:
            continue
        # Held, so that no other object gets its id.
        seen[id(part)] = part
        yield name, part
        farther = 0 if _is_known(part) else distance + (not isinstance(part, _HOLDERS))
        if farther <= _FARTHEST and enters(part):
            waiting.extend((each or name, inner, farther) for each, inner in _inner(part))


_HOLDERS = (Mapping, list, tuple, set, frozenset, FunctionType, MethodType, partial)


def _is_known(part: object) -> bool:
    return isinstance(part, (Runnable, BaseModel, Embeddings)) or is_dataclass(part)


def _inner(part: Any) -> Iterable[tuple[str, Any]]:
    match part:
        case Mapping() | list() | tuple() | set() | frozenset() if len(part) > _MANY:
            inner: Iterable[tuple[str, Any]] = ()
        case Mapping():
            inner = [(str(name), each) for name, each in [*part.items()]]
        case list() | tuple() | set() | frozenset():
            inner = [("", each) for each in part]
        case FunctionType():
            inner = _referred(part)
        case MethodType():
            inner = [("", part.__self__), ("", part.__func__)]
        case partial():
            inner = [("", part.func), ("", part.args), ("", part.keywords)]
        case Pregel():
            # Its checkpointer and its store hold what was said, not what it is made of.
            inner = part.nodes.items()
        case _:
            # Copied at once: another thread may be using it.
            inner = [*getattr(part, "__dict__", {}).items(), *(getattr(part, "__pydantic_private__", None) or {}).items()]
    return inner


def _referred(function: FunctionType) -> list[tuple[str, Any]]:
    found = inspect.getclosurevars(function)
    # Of the functions around it only those of its own module: others' are not the user's, and have no end.
    near = {
        name: each
        for name, each in found.globals.items()
        if not isinstance(each, FunctionType) or each.__module__ == function.__module__
    }
    return [*near.items(), *found.nonlocals.items()]
