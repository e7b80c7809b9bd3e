"""The variants of a comparison: the mixture, what it is after each layer, each member alone, and Self-MoA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_moa.evaluation.alone import alone
from langchain_moa.evaluation.recorded import recorded
from langchain_moa.mixture.mixture import Mixture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.evaluation.ledger import Ledger
    from langchain_moa.members.member import Member

Kind = Literal["mixture", "layer", "member", "self-moa"]

# What Self-MoA takes over from the mixture; the rest is about members and layers that it does not have.
_SHARED = ("prompt", "max_reference_tokens", "temperature", "max_tokens", "stop", "timeout", "max_retries", "api_key", "retry")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to answer the questions.

    Attributes:
        name: What the table calls it.
        kind: `mixture`; `layer`, the answer that the aggregator would give after fewer layers; `member`, one alone; `self-moa`.
        graph: The compiled graph that answers.
        member: Who answers, where it is one alone.
    """

    name: str
    kind: Kind
    graph: Any
    member: Member | None = None


def first_variants(mixture: Mixture, ledger: Ledger) -> list[Variant]:
    """Return the variants that can be asked before it is known which member is the best.

    Args:
        mixture: The mixture.
        ledger: Where their calls are kept; those that several variants make are made once.
    """
    kept = recorded(mixture, ledger)
    variants = [Variant(name="the mixture", kind="mixture", graph=_compiled(kept.to_graph()))]
    for layers in range(1, mixture.num_layers):
        fewer = _compiled(recorded(_cut(mixture, layers), ledger).to_graph())
        variants.append(Variant(name=f"after layer {layers}", kind="layer", graph=fewer))
    return [*variants, *_members(kept)]


def self_moa(mixture: Mixture, best: Member, ledger: Ledger, *, calls: int) -> Variant | None:
    """Return the best member asked as often as the mixture asks all of its own; `None` where the mixture is just that.

    Args:
        mixture: The mixture.
        best: Its best member.
        ledger: Where the calls are kept.
        calls: How many calls the mixture takes for an answer.
    """
    members = mixture.members
    everyone = [*(member for layer in members.layers for member in layer), members.aggregator]
    if mixture.num_layers == 1 and all(_same(member, best) for member in everyone):
        return None
    options = {name: getattr(mixture, name) for name in _SHARED if getattr(mixture, name) is not None}
    # Without a seed: one that is the same in every epoch would make every epoch the same.
    samples = Mixture.self_moa(best.spec, samples=max(1, calls - 1), seed=None, **options)
    graph = _compiled(recorded(samples, ledger, prefix="self-moa: ").to_graph())
    return Variant(name=f"{best.name} x {samples_of(samples)}, Self-MoA", kind="self-moa", graph=graph)


def samples_of(mixture: Mixture) -> int:
    """Return how many samples a Self-MoA synthesizes."""
    return len(mixture.members.layers[0])


def _members(mixture: Mixture) -> Iterator[Variant]:
    """Yield each proposer of the first layer alone, and the aggregator if it is none of them."""
    first = mixture.members.layers[0]
    names = [member.name for member in first]
    for number, member in enumerate(first, start=1):
        name = member.name if names.count(member.name) == 1 else f"{member.name} ({number})"
        yield Variant(name=f"{name} alone", kind="member", graph=_compiled(alone(mixture, member)), member=member)
    aggregator = mixture.members.aggregator
    if mixture.aggregator is not None and not any(_same(member, aggregator) for member in first):
        graph = _compiled(alone(mixture, aggregator))
        yield Variant(name=f"{aggregator.name} alone, the aggregator", kind="member", graph=graph, member=aggregator)


def _same(one: Member, other: Member) -> bool:
    return bool(_identity(one) == _identity(other))


def _identity(member: Member) -> Any:
    described = member.describe()
    return {key: described.get(key) for key in ("model", "system_prompt", "settings", "params")}


def _cut(mixture: Mixture, layers: int) -> Mixture:
    """Return the mixture with its first layers only."""
    proposers: Sequence[Any] = mixture.proposers
    if isinstance(proposers[0], tuple):
        return mixture.model_copy(update={"proposers": proposers[:layers], "num_layers": layers})
    return mixture.model_copy(update={"num_layers": layers})


def _compiled(graph: Any) -> Any:
    return graph.compile(checkpointer=False)
