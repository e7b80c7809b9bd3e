"""The line-up of a mixture: who its members are, as they are written and as they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.runnables import Runnable

from langchain_moa.data.validation import at, each
from langchain_moa.limits.concurrency import Slots
from langchain_moa.limits.retry import Retry
from langchain_moa.members.member import Nobody
from langchain_moa.members.proposer import Proposer

if TYPE_CHECKING:
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.strategies.resolved import Strategies

MemberLike = str | Runnable[Any, Any] | Mapping[str, Any] | Proposer
"""What may stand for a proposer or an aggregator."""


def coerce_proposers(value: Any) -> tuple[Proposer | tuple[Proposer, ...], ...]:
    """Read `proposers`: one list for every layer, or a list of lists, one for each."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        msg = f"give a list of proposers, or a list of lists with one for each layer, not {type(value).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
    if not value:
        msg = "there are no proposers; give at least one"
        raise ValueError(msg)
    nested = [isinstance(item, Sequence) and not isinstance(item, str) for item in value]
    if all(nested):
        for number, layer in enumerate(value, start=1):
            if not layer:
                msg = f"layer {number} has no proposers; give at least one, or leave the layer out"
                raise ValueError(msg)
        return tuple(each(layer, Proposer.coerce, place=f"layer {number}, ") for number, layer in enumerate(value, start=1))
    if any(nested):
        msg = f"item {nested.index(True) + 1} is a list and others are not; give one list for all layers, or a list for each"
        raise ValueError(msg)
    return each(value, Proposer.coerce)


def coerce_aggregator(value: Any) -> Proposer | None:
    """Read `aggregator`, which may be left out."""
    return None if value is None else Proposer.coerce(value)


class Members(NamedTuple):
    """The resolved members of a mixture.

    Attributes:
        layers: The proposers of each layer.
        aggregator: Who writes the final answer; where there is none, a member that refuses to be called.
        fallbacks: Who stands in for the aggregator, in this order.
        others: The models that the strategies call, each beside what the user wrote.
    """

    layers: tuple[tuple[Member, ...], ...]
    aggregator: Member
    fallbacks: tuple[Member, ...]
    others: tuple[tuple[Proposer, Member], ...]


def resolve_members(mixture: Mixture, strategies: Strategies) -> Members:
    """Resolve everyone whom a mixture may call.

    Args:
        mixture: The mixture.
        strategies: Its strategies, which may call models of their own.

    Raises:
        ValueError: A member cannot be called as it is described, or is missing; the text names the field and the remedy.
        ImportError: A provider's package is missing; the text has the pip command.
    """
    given = {"timeout": mixture.timeout, "max_retries": mixture.max_retries, "api_key": mixture.api_key}
    client = {name: value for name, value in given.items() if value is not None}

    slots = Slots(mixture.max_concurrency)

    # Coerced once more: a `model_copy(update=...)` brings values that no validator has seen.
    with at("retry"):
        retry = Retry.coerce(mixture.retry)

    def resolve(proposer: Proposer) -> Member:
        return replace(proposer.resolve(client, retry=retry), slots=slots)

    proposers = coerce_proposers(mixture.proposers)
    nested = [item for item in proposers if isinstance(item, tuple)]
    flat = [item for item in proposers if isinstance(item, Proposer)]
    # One set for all layers is resolved once: its clients and connections are shared.
    shared = each(flat, resolve, place="proposers: ")
    layers = tuple(each(layer, resolve, place=f"proposers: layer {number}, ") for number, layer in enumerate(nested, start=1))
    with at("aggregator"):
        aggregator = resolve(coerce_aggregator(mixture.aggregator) or Proposer(Nobody()))
    fallbacks = each(mixture.aggregator_fallbacks, lambda item: resolve(Proposer.coerce(item)), place="aggregator_fallbacks: ")
    others = []
    for field, model in strategies.models():
        if model is not None:
            with at(field):
                others.append((model, resolve(model)))
        elif mixture.aggregator is None:
            msg = f"aggregator is missing, and {field} asks it; give one, as 'provider:model' for example"
            raise ValueError(msg)
    layers = layers or (shared,) * mixture.num_layers
    return Members(layers=layers, aggregator=aggregator, fallbacks=fallbacks, others=tuple(others))
