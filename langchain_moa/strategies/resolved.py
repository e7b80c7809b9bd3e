"""The strategies of a mixture, resolved and described."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langchain_core.runnables import Runnable

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
"""From an answer and the question to what a check says of the answer."""

# After the last layer there is nothing to stop.
_MIN_LAYERS = 2


class Strategies(NamedTuple):
    """The strategies of a mixture, found by their names where they were given by name.

    Attributes:
        aggregation: How references become the answer.
        filters: What is done with the references of each layer, in order.
        stop_when: Whether the layers end early; `None` if they never do.
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
        """The rule by which the aggregation ends the layers as soon as its outcome is decided; `None` if all are waited for.

        An aggregation has a method `decided`. It is applied where the stop condition asks for it (`ends_decided`), or where the
        aggregation itself does, unless the aggregation says that it cannot be decided early (`may_decide`).
        """
        rule: Decides | None = getattr(self.aggregation, "decided", None)
        if not getattr(self.aggregation, "may_decide", True):
            return None
        return rule if any(getattr(each, "ends_decided", False) for each in (self.aggregation, self.stop_when)) else None

    @property
    def examine(self) -> Examine | None:
        """The check that the aggregation has for answers; `None` if it has none.

        An aggregation with a check has an async method `examine`, from an answer and the question to what the check says.
        """
        found: Examine | None = getattr(self.aggregation, "examine", None)
        return found

    @property
    def counts_all(self) -> bool:
        """Whether the aggregation looks at the answers of all layers, and not of the last one alone."""
        return bool(getattr(self.aggregation, "over", "last") == "all")

    def without_effect(self, layers: int) -> str | None:
        """Say that the stop condition can never end the layers early, if it cannot.

        Args:
            layers: How many layers there are.
        """
        needed = getattr(self.stop_when, "min_layers", _MIN_LAYERS)
        if self.stop_when is None or layers >= needed or self.decides is not None:
            return None
        has = f"{layers} layer{'s' if layers > 1 else ''}"
        return f"stop_when: {name_of(self.stop_when)!r} has no effect in a mixture of {has}; it takes at least {needed}"

    def models(self) -> list[tuple[str, Proposer | None]]:
        """Return the models that the strategies call, each with its field; `None` stands for the aggregator."""
        filters = [("reference_filters", each) for each in self.filters]
        parts = [("aggregation", self.aggregation), *filters, ("stop_when", self.stop_when)]
        return [(f"{field}: {name_of(part)}", model) for field, part in parts for model in getattr(part, "models", ())]


def resolve_aggregation(value: Any) -> Any:
    """Return the aggregation that a mixture's `aggregation` stands for.

    Raises:
        ValueError: An unknown name, a wrong argument, or nothing that aggregates.
    """
    found = resolve("langchain_moa.aggregation", value)
    if not (callable(found) or isinstance(found, Runnable | Aggregation)):
        msg = f"give a name, a callable (messages, references), a Runnable, or an object with add_to, not {_kind(value)}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
    return found


def resolve_filters(value: Any) -> tuple[Any, ...]:
    """Return the filters that a mixture's `reference_filters` stands for.

    Raises:
        ValueError: An unknown name, a wrong argument, or nothing that filters.
    """
    # One alone may stand without a list; a mapping in YAML does, too.
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return each(items, lambda item: _called_with_layer("langchain_moa.filters", item))


def resolve_stop(value: Any) -> Any:
    """Return the condition that a mixture's `stop_when` stands for; `None` if there is none.

    Raises:
        ValueError: An unknown name, a wrong argument, or no condition.
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
