"""Resolving the members of a mixture from its fields."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_moa.data.validation import at, each
from langchain_moa.limits.concurrency import CallLimiter
from langchain_moa.limits.quorum import Closing, quorum_of
from langchain_moa.members.member import NoAggregator
from langchain_moa.members.proposer import Proposer
from langchain_moa.mixture.fields import Use, fields_for
from langchain_moa.prompting.prompts import is_blind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langchain_moa.limits.retry import Retry
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.strategies.resolved import Strategies


class Members(NamedTuple):
    """The resolved members of a mixture.

    Attributes:
        layers: The proposers of each layer.
        aggregator: The member that writes the final answer. In a mixture without one, a member that raises an error when it is
            called.
        fallbacks: The members that replace the aggregator when it fails, in this order: its own fallbacks, then the mixture's.
        others: The models that the strategies call, each with the `Proposer` that it was made from.
    """

    layers: tuple[tuple[Member, ...], ...]
    aggregator: Member
    fallbacks: tuple[Member, ...]
    others: tuple[tuple[Proposer, Member], ...]

    @property
    def everyone(self) -> list[Member]:
        """All proposers, the aggregator, its fallbacks and the models of strategies, each followed by its own fallbacks."""
        own = [*(each for layer in self.layers for each in layer), self.aggregator, *self.fallbacks]
        own += [member for _, member in self.others]
        return [each for member in own for each in (member, *member.fallbacks)]

    def changed(self, change: Callable[[Member], Member]) -> Members:
        """Return a copy in which each member is replaced.

        Args:
            change: Returns the replacement for a member, including the replacements for the member's own fallbacks.
        """
        return Members(
            layers=tuple(tuple(map(change, layer)) for layer in self.layers),
            aggregator=change(self.aggregator),
            fallbacks=tuple(map(change, self.fallbacks)),
            others=tuple((spec, change(member)) for spec, member in self.others),
        )


def resolve_members(mixture: Mixture, strategies: Strategies) -> Members:
    """Resolve all members that a mixture can call.

    Args:
        mixture: The mixture.
        strategies: Its strategies, which can call models of their own.

    Raises:
        ValueError: A member is invalid or missing; the message names the field and the remedy.
        ImportError: A provider's package is not installed; the message has the pip command.
    """
    given = {name: getattr(mixture, name) for name in fields_for(Use.CLIENT)}
    client = {name: value for name, value in given.items() if value is not None}
    retry = cast("Retry | None", mixture.retry)  # the field's validator has converted it

    def resolve(proposer: Proposer) -> Member:
        return proposer.resolve(client, retry=retry)

    proposers: Sequence[Any] = mixture.proposers
    nested = [item for item in proposers if isinstance(item, tuple)]
    flat = [item for item in proposers if isinstance(item, Proposer)]
    # Proposers that all layers share are resolved once, so that their clients and connections are shared.
    shared = each(flat, resolve, place="proposers: ")
    layers = tuple(each(layer, resolve, place=f"proposers: layer {number}, ") for number, layer in enumerate(nested, start=1))
    with at("aggregator"):
        aggregator = resolve(_whole(cast("Proposer | None", mixture.aggregator) or Proposer(NoAggregator())))
    after_aggregator = each(mixture.aggregator_fallbacks, lambda other: resolve(_whole(other)), place="aggregator_fallbacks: ")
    fallbacks = (*aggregator.fallbacks, *(one for other in after_aggregator for one in (other, *other.fallbacks)))
    others = []
    for field, model in strategies.models():
        if model is not None:
            with at(field):
                others.append((model, resolve(_whole(model))))
        elif mixture.aggregator is None:
            msg = f"aggregator is missing, and {field} asks it; give one, as 'provider:model' for example"
            raise ValueError(msg)
    alone = replace(aggregator, fallbacks=())
    layers = layers or (shared,) * mixture.num_layers
    members = Members(layers=layers, aggregator=alone, fallbacks=fallbacks, others=tuple(others))
    return _limited(members, CallLimiter(mixture.max_concurrency))


def _whole(proposer: Proposer) -> Proposer:
    """Return a member that needs the whole conversation, because it is not a proposer.

    Raises:
        ValueError: Its `history` limits what it is shown.
    """
    for member in (proposer, *proposer.fallbacks):
        if member.history not in {None, "all"}:
            msg = f"history is {member.history!r}, but only proposers can have one; remove it: this model needs all messages"
            raise ValueError(msg)
    return proposer


def _limited(members: Members, limiter: CallLimiter) -> Members:
    """Return the members with the limiters that their calls share.

    Args:
        members: The members, each with its own limiter.
        limiter: The mixture's limiter.
    """
    most: dict[Any, int] = {}
    for member in members.everyone:
        if (given := member.spec.max_concurrency) is not None:
            most[member.server] = min(given, most.get(member.server, given))
    limiters = {server: CallLimiter(number, within=limiter) for server, number in most.items()}
    # Proposers that all layers share stay the same objects.
    made: dict[int, Member] = {}

    def limited(member: Member) -> Member:
        if id(member) not in made:
            own = limiters.get(member.server, limiter) if limiters else limiter
            made[id(member)] = replace(member, limiter=own, fallbacks=tuple(map(limited, member.fallbacks)))
        return made[id(member)]

    return members.changed(limited)


def closings(mixture: Mixture, sizes: Iterable[int], *, enough: int) -> list[Closing]:
    """Return the rules by which each layer of a mixture closes.

    Args:
        mixture: The mixture.
        sizes: The number of proposers in each layer.
        enough: The number of good answers that each layer needs.

    Raises:
        ValueError: A layer has fewer proposers, or a smaller quorum, than the number of answers it needs.
    """
    rules = []
    widths = list(sizes)
    for layer, size in enumerate(widths, start=1):
        if enough > size:
            msg = f"min_references is {enough}, but layer {layer} has only {size} proposers; give {size} or less"
            raise ValueError(msg)
        with at(f"layer {layer}"):
            quorum = quorum_of(mixture.quorum, size)
        if quorum is not None and quorum < enough:
            msg = f"quorum needs only {quorum} answers in layer {layer}, but min_references is {enough}; give a higher quorum"
            raise ValueError(msg)
        rules.append(
            Closing(
                size=size,
                enough=enough,
                quorum=quorum,
                grace=mixture.quorum_grace,
                deadline=mixture.deadline,
                layers=len(widths),
                layer=layer,
                **_decisions(mixture, layer, widths),
            )
        )
    return rules


def _decisions(mixture: Mixture, layer: int, widths: Sequence[int]) -> dict[str, Any]:
    """Return the rule that closes a layer once the outcome is decided; empty if the layer's answers do not count for it."""
    strategies = mixture.strategies
    if strategies.decides is None:
        return {}
    to_come = range(layer + 1, len(widths) + 1)
    if not strategies.counts_all and not all(is_blind(mixture.prompt, number) for number in to_come):
        # A later layer reads these answers, and only the later layer's answers count.
        return {}
    return {"decides": strategies.decides, "later": sum(widths[layer:])}
