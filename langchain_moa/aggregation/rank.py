"""Rank: each proposer ranks the other proposers' answers anonymously, and the aggregator reads them best first."""

from __future__ import annotations

from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.data.state import MoAState, emit, references_of, steps_of
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.ballot import FAIR, Ballot
from langchain_moa.strategies.inquiry import decide
from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.data.reference import Reference
    from langchain_moa.members.member import Member
    from langchain_moa.strategies.aggregation import AnswerGraph
    from langchain_moa.strategies.inquiry import Inquiry

    Layers = Sequence[Sequence[Member]]

__all__ = ["Rank"]

_FEWEST = 2
"""The smallest number of answers that can be ranked."""

PEER = (
    "You rank responses to a conversation's last message from best to worst: correct first of all, then helpful, complete and "
    f"clear. {FAIR}"
)
"""The instruction of each proposer that ranks."""


@strategy
class Rank(Aggregation):
    """Anonymous peer ranking as in llm-council, then synthesis: the aggregator reads the references by mean rank, best first.

    The proposers of the last layer rank in parallel. Each ranks all references except its own, under anonymous labels and in
    an order drawn from a seed. A proposer without a good answer in that layer does not rank. If a ranking does not name each
    reference exactly once, the proposer is asked once more; if the second ranking is invalid as well, it does not count.
    References with the same mean rank keep the proposers' order, and so do all references if no ranking counts.

    `proposer_timeout` and `quorum` apply to rankings as they do to answers: a late ranking is recorded and does not count.

    Attributes:
        seed: Seed of the order in which the references are shown. Default: 0.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA(
            proposers=["local:smollm2-135m", "local:gemma3-270m", "local:smollm2-135m"],
            aggregator="local:smollm2-135m",
            num_layers=1,
            aggregation="rank",
        )
        ```
    """

    seed: int = 0

    models = (None,)

    @override
    def add_to(self, graph: AnswerGraph) -> list[str]:
        layers = graph.layers
        width = max(map(len, layers))
        nodes = [f"rank_{position:0{len(str(width))}}" for position in range(1, width + 1)]
        for position, node in enumerate(nodes, start=1):
            spec = next(layer[position - 1].spec for layer in reversed(layers) if len(layer) >= position)
            work = partial(self._rank, layers=layers, position=position)
            graph.add_inquiry(node, work, model=spec, together=width)
        graph.add_node("best_first", partial(self._order, layers=layers, nodes=nodes))
        graph.add_edge(nodes, "best_first")
        graph.add_edge("best_first", graph.add_aggregator())
        return nodes

    def _ballot(self, state: MoAState, peer: Member, position: int) -> Ballot:
        return Ballot.of([each for each in state.get("merged", []) if not _is_by(each, peer, position)], seed=self.seed)

    def _rank(self, state: MoAState, *, layers: Layers, position: int) -> Inquiry[list[str] | None]:
        if (peer := _peer(state, layers, position)) is None:
            return None
        ballot = self._ballot(state, peer, position)
        if len(ballot.labels) < _FEWEST:
            return None
        form = f"all labels from best to worst, like {' > '.join(f'[[{label}]]' for label in ballot.labels)}"
        question = f"Rank the responses. Think briefly, then end with a last line of {form}."
        ask = ballot.ask(state["messages"], instruction=PEER, question=question, name="peer", model=peer.spec)
        ranking, _ = yield from decide(ask, ballot.ranking_in, form=form)
        return ranking

    def _order(self, state: MoAState, *, layers: Layers, nodes: Sequence[str]) -> dict[str, Any]:
        references = state.get("merged", [])
        places: dict[int, list[float]] = {id(each): [] for each in references}
        # The last text of a node counts: the repaired reply if there is one.
        said = {step["node"]: step["text"] for step in steps_of(state)}
        for position, node in enumerate(nodes, start=1):
            ranking = self._ranking(state, _peer(state, layers, position), position, said.get(node, ""))
            for rank, reference in enumerate(ranking):
                # From 0 (best) to 1 (worst), so that ballots of different lengths can be averaged.
                places[id(reference)].append(rank / (len(ranking) - 1))
        means = {key: fmean(ranks) for key, ranks in places.items() if ranks}
        # An answer without a rank gets the mean of all ranks.
        middle = fmean(means.values()) if means else 0.0
        ranked = sorted(references, key=lambda each: means.get(id(each), middle))
        emit("ranked", references=[each["proposer"] for each in ranked])
        return {"merged": ranked}

    def _ranking(self, state: MoAState, peer: Member | None, position: int, said: str) -> list[Reference]:
        if peer is None:
            return []
        ballot = self._ballot(state, peer, position)
        return [ballot.labelled[label] for label in ballot.ranking_in(said) or ()]


def _peer(state: MoAState, layers: Layers, position: int) -> Member | None:
    """Return the proposer at a position of the last layer; `None` if it gave no good answer there and so does not rank."""
    of_turn = references_of(state)
    last = max((each["layer"] for each in of_turn), default=0)
    answered = {each["proposer"] for each in of_turn if each["layer"] == last and each["status"] == "ok"}
    # If only the mixture's last layer can be the last, `layers` has a single item.
    return layers[last - 1 if len(layers) >= last else -1][position - 1] if position in answered else None


def _is_by(reference: Reference, peer: Member, position: int) -> bool:
    # The name is compared as well: after a fallback, another proposer may have this position in the previous layer.
    return reference["proposer"] == position and reference["name"] == peer.name
