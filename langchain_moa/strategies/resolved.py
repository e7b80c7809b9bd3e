"""Resolving the strategies of a mixture, and describing them as plain data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langchain_core.runnables import Runnable

from langchain_moa.data.figures import counted
from langchain_moa.data.redaction import masked
from langchain_moa.data.validation import each
from langchain_moa.members.proposer import Proposer
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.registry import name_of, resolve
from langchain_moa.strategies.similarity import NamedEmbeddings

if TYPE_CHECKING:
    from langchain_moa.data.reference import Check
    from langchain_moa.limits.quorum import Decides
    from langchain_moa.members.member import Member

Examine: TypeAlias = Callable[[str, str], Awaitable["Check"]]
"""A callable that takes an answer and the question and returns the result of a check."""

# The condition is not checked after the last layer.
_MIN_LAYERS = 2


class Strategies(NamedTuple):
    """The strategies of a mixture, with names resolved.

    Attributes:
        aggregation: The aggregation, which turns references into the answer.
        filters: The reference filters, in the order in which they are applied.
        stop_when: The stop condition; `None` if there is none.
    """

    aggregation: Any
    filters: tuple[Any, ...]
    stop_when: Any

    @property
    def may_stop(self) -> bool:
        """Whether the layers can end early."""
        asked = (self.aggregation, *self.filters)
        return self.stop_when is not None or any(getattr(each, "may_stop", False) for each in asked)

    @property
    def decides(self) -> Decides | None:
        """The rule by which the aggregation ends the layers once its outcome is decided; `None` if there is none.

        The rule is the aggregation's method `decided`. It applies if the stop condition or the aggregation itself has a true
        attribute `ends_decided`, unless the aggregation's `may_decide` is false.
        """
        rule: Decides | None = getattr(self.aggregation, "decided", None)
        if not getattr(self.aggregation, "may_decide", True):
            return None
        return rule if any(getattr(each, "ends_decided", False) for each in (self.aggregation, self.stop_when)) else None

    @property
    def examine(self) -> Examine | None:
        """The aggregation's check for answers, which is its async method `examine`; `None` if it has none."""
        found: Examine | None = getattr(self.aggregation, "examine", None)
        return found

    @property
    def counts_all(self) -> bool:
        """Whether the aggregation uses the answers of all layers rather than only those of the last one."""
        return bool(getattr(self.aggregation, "over", "last") == "all")

    def without_effect(self, layers: int) -> str | None:
        """Return a warning if the stop condition can never end the layers early; otherwise `None`.

        Args:
            layers: The number of layers.
        """
        needed = getattr(self.stop_when, "min_layers", _MIN_LAYERS)
        if self.stop_when is None or layers >= needed or self.decides is not None:
            return None
        has = counted(layers, "layer")
        return f"stop_when: {name_of(self.stop_when)!r} has no effect in a mixture with {has}; it needs at least {needed}"

    def models(self) -> list[tuple[str, Proposer | None]]:
        """Return the models that the strategies call, each with its field; `None` is the aggregator."""
        filters = [("reference_filters", each) for each in self.filters]
        parts = [("aggregation", self.aggregation), *filters, ("stop_when", self.stop_when)]
        return [(f"{field}: {name_of(part)}", model) for field, part in parts for model in getattr(part, "models", ())]


def resolve_aggregation(value: Any) -> Any:
    """Return the aggregation that a mixture's `aggregation` describes.

    Raises:
        ValueError: The name is unknown, an argument is invalid, or the value is not an aggregation.
    """
    found = resolve("langchain_moa.aggregation", value)
    if not (callable(found) or isinstance(found, Runnable | Aggregation)):
        msg = f"give a name, a callable (messages, references), a Runnable, or an object with add_to, not {_kind(value)}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
    return found


def resolve_filters(value: Any) -> tuple[Any, ...]:
    """Return the filters that a mixture's `reference_filters` describes.

    Raises:
        ValueError: A name is unknown, an argument is invalid, or an item is not a filter.
    """
    # A single filter can be given without a list.
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return each(items, lambda item: _called_with_layer("langchain_moa.filters", item))


def resolve_stop(value: Any) -> Any:
    """Return the stop condition that a mixture's `stop_when` describes; `None` if there is none.

    Raises:
        ValueError: The name is unknown, an argument is invalid, or the value is not a condition.
    """
    return None if value is None else _called_with_layer("langchain_moa.stopping", value)


def _called_with_layer(package: str, value: Any) -> Callable[..., Any] | Runnable[Any, Any]:
    found = resolve(package, value)
    if not (callable(found) or isinstance(found, Runnable)):
        msg = f"give a name, a callable (layer) or a Runnable, not {_kind(value)}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
    return found  # type: ignore[no-any-return]  # checked above


def _kind(value: Any) -> str:
    return type(value).__name__


def described(value: Any, member: Callable[[Proposer], Member]) -> Any:
    """Return a strategy, or a part of one, as plain data without secrets, such that only equal strategies have equal data.

    Args:
        value: The strategy.
        member: Returns the member for a model that the strategy calls.
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
    # Functions and Runnables can only be told apart by their identity.
    return value.name if isinstance(value, NamedEmbeddings) else f"{name_of(value)} at {id(value):#x}"
