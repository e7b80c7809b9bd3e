"""The variants of a comparison: the mixture, the mixture with fewer layers, each single member, and Self-MoA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from langchain_moa.batch.calls import member_with_journal, with_journal
from langchain_moa.engine.aggregate import AGGREGATOR
from langchain_moa.engine.graph import build_alone, build_graph
from langchain_moa.mixture.fields import Use, fields_for
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.prompting.prompts import for_layers, is_blind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.batch.pace import Paces
    from langchain_moa.members.member import Member


def find_member(mixture: Mixture, name: str) -> Member:
    """Find a member of a mixture by name.

    Args:
        mixture: The mixture.
        name: `aggregator`, a proposer's number in the first layer, its name, or its model id.

    Raises:
        ValueError: The member does not exist, or different members have this name.
    """
    members = mixture.members
    if name == AGGREGATOR:
        if mixture.aggregator is None:
            msg = "the mixture has no aggregator that could be called alone"
            raise ValueError(msg)
        return members.aggregator
    first = members.layers[0]
    if name.isdecimal() and 1 <= int(name) <= len(first):
        return first[int(name) - 1]
    found = [member for layer in members.layers for member in layer if name in (member.name, member.id)]
    if not found:
        numbered = [f"{number} ({member.name})" for number, member in enumerate(first, start=1)]
        msg = f"{name!r} is not a member; choose one of: {', '.join(numbered)} and {AGGREGATOR}"
        raise ValueError(msg)
    if any(member.describe() != found[0].describe() for member in found):
        msg = f"several members have the name {name!r}; give the number of one, 1 to {len(first)}"
        raise ValueError(msg)
    return found[0]


Kind = Literal["mixture", "layer", "member", "self-moa"]

SELF_MOA = "self-moa: "
"""The prefix of the positions of Self-MoA's members in the journal."""

_FEWEST_SAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to answer the questions.

    Attributes:
        name: The name in the table.
        kind: `mixture`; `layer`: the mixture with fewer layers; `member`: a single member; `self-moa`.
        graphs: The compiled graph, or one for each epoch.
        member: The member, if it is a single one.
        asked: The same member with its calls going through the journal.
    """

    name: str
    kind: Kind
    graphs: Sequence[Any]
    member: Member | None = None
    asked: Member | None = None

    def graph(self, epoch: int) -> Any:
        """Return the graph for an epoch.

        Args:
            epoch: The repetition of the question, from 1.
        """
        return self.graphs[(epoch - 1) % len(self.graphs)]


def first_variants(mixture: Mixture, journal: CallJournal, paces: Paces) -> list[Variant]:
    """Return all variants except Self-MoA, which needs the best member.

    Args:
        mixture: The mixture.
        journal: The journal of the calls. Calls shared by several variants are made once.
        paces: The pace of each provider.
    """

    def graph(asked: Mixture) -> Any:
        return _compiled(build_graph(paces.paced(with_journal(asked, journal))))

    whole = Variant(name="the mixture", kind="mixture", graphs=[graph(mixture)])
    layers = [
        Variant(name=f"after layer {number}", kind="layer", graphs=[graph(shorter)])
        for number, shorter in enumerate(shortened(mixture), start=1)
    ]
    return [whole, *layers, *members_alone(mixture, journal, paces)]


def members_alone(mixture: Mixture, journal: CallJournal, paces: Paces) -> Iterator[Variant]:
    """Yield each proposer of the first layer as a variant, and members of later layers and the aggregator if they differ.

    Args:
        mixture: The mixture.
        journal: The journal of the calls. Those of the first layer are shared with the mixture.
        paces: The pace of each provider.
    """
    members, kept = mixture.members, with_journal(mixture, journal).members
    first = members.layers[0]
    for place, (member, asked) in enumerate(zip(first, kept.layers[0], strict=True), start=1):
        yield _alone(mixture, f"{_named(first, place)} alone", member, asked=asked, paces=paces)
    known = list(first)
    for number, layer in enumerate(members.layers[1:], start=2):
        for place, member in enumerate(layer, start=1):
            if not any(_same(member, other) for other in known):
                known.append(member)
                asked = kept.layers[number - 1][place - 1]
                if not is_blind(mixture.prompt, number):
                    asked = member_with_journal(member, journal, f"layer {number}, proposer {place}, alone")
                name = f"{_named(layer, place)} alone, of layer {number}"
                yield _alone(mixture, name, member, asked=asked, paces=paces)
    last = members.aggregator
    if mixture.aggregator is not None and not any(_same(last, other) for other in known):
        asked = member_with_journal(last, journal, "aggregator, alone")
        yield _alone(mixture, f"{last.name} alone, the aggregator", last, asked=asked, paces=paces)


def samples_of_best(mixture: Mixture, best: Member, *, calls: int, epoch: int) -> Mixture | None:
    """Return the Self-MoA mixture of the best member with as many calls as the mixture.

    Args:
        mixture: The mixture.
        best: Its best member.
        calls: The number of calls of the mixture per answer.
        epoch: The repetition of the questions, from 1, which determines the seeds of the samples.

    Returns:
        The mixture; `None` if it is the same as the given one, or if so few calls leave less than two samples.
    """
    samples = calls - 1
    if samples < _FEWEST_SAMPLES:
        return None
    members = mixture.members
    everyone = [*(member for layer in members.layers for member in layer), members.aggregator]
    if mixture.num_layers == 1 and all(_same(member, best) for member in everyone):
        return None
    options = {name: getattr(mixture, name) for name in fields_for(Use.SHARED) if getattr(mixture, name) is not None}
    options["prompt"] = for_layers(mixture.prompt, 1)
    return Mixture.self_moa(best.spec, samples=samples, seed=1 + (epoch - 1) * samples, **options)


def self_moa(mixture: Mixture, best: Member, journal: CallJournal, paces: Paces, *, calls: int, epochs: int) -> Variant | None:
    """Return the Self-MoA variant of the best member, or `None` if the mixture is the same or makes fewer than three calls.

    Args:
        mixture: The mixture.
        best: Its best member.
        journal: The journal of the calls.
        paces: The pace of each provider.
        calls: The number of calls of the mixture per answer.
        epochs: How often each question is asked.
    """
    graphs = []
    for epoch in range(1, epochs + 1):
        samples = samples_of_best(mixture, best, calls=calls, epoch=epoch)
        if samples is None:
            return None
        graphs.append(_compiled(build_graph(paces.paced(with_journal(samples, journal, prefix=SELF_MOA)))))
    return Variant(name=f"{best.name} x {calls - 1}, Self-MoA", kind="self-moa", graphs=graphs)


def shortened(mixture: Mixture) -> Iterator[Mixture]:
    """Yield the mixture with only its first layer, with its first two layers, and so on, up to all but the last."""
    proposers: Sequence[Any] = mixture.proposers
    for layers in range(1, mixture.num_layers):
        listed = {"proposers": proposers[:layers]} if isinstance(proposers[0], tuple) else {}
        fewer = {**listed, "num_layers": layers, "prompt": for_layers(mixture.prompt, layers)}
        names = {member.name for layer in mixture.members.layers[:layers] for member in layer}
        aggregation: Any = mixture.aggregation
        if trust := getattr(aggregation, "trust", None):
            fewer["aggregation"] = replace(aggregation, trust=tuple(name for name in trust if name in names))
        yield mixture.model_copy(update=fewer)


def _named(layer: Sequence[Member], place: int) -> str:
    """Return the name of a member of a layer, with its position if others have the same name."""
    name = layer[place - 1].name
    return name if sum(member.name == name for member in layer) == 1 else f"{name} ({place})"


def _alone(mixture: Mixture, name: str, member: Member, *, asked: Member, paces: Paces) -> Variant:
    graph = _compiled(build_alone(mixture, paces.member(asked)))
    return Variant(name=name, kind="member", graphs=[graph], member=member, asked=asked)


def _same(one: Member, other: Member) -> bool:
    return bool(_identity(one) == _identity(other))


def _identity(member: Member) -> Any:
    described = member.describe()
    return {key: described.get(key) for key in ("model", "system_prompt", "settings", "params", "runnable")}


def _compiled(graph: Any) -> Any:
    return graph.compile(checkpointer=False)
