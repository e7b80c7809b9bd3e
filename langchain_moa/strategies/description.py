"""Descriptions of strategies as plain data: for the cache, for records of runs, and to tell two mixtures apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from langchain_moa.members.proposer import Proposer
from langchain_moa.secrets import masked
from langchain_moa.strategies.embeddings import NamedEmbeddings
from langchain_moa.strategies.registry import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_moa.members.member import Member


def described(value: Any, member: Callable[[Proposer], Member]) -> Any:
    """Return a strategy, or a part of one, as plain data without secrets: equal for equals, and different for others.

    Args:
        value: The strategy.
        member: Resolves a model that it calls.
    """
    if isinstance(value, Proposer):
        return member(value).describe()
    if is_dataclass(value) and not isinstance(value, (type, NamedEmbeddings)):
        parts = {each.name: described(getattr(value, each.name), member) for each in fields(value)}
        return {"strategy": f"{type(value).__module__}.{type(value).__qualname__}", **masked(parts)}
    if isinstance(value, Mapping):
        return masked({str(key): described(item, member) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return [described(item, member) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    # Nothing tells two functions or two Runnables apart but that they are two.
    return value.name if isinstance(value, NamedEmbeddings) else f"{name_of(value)} at {id(value):#x}"
