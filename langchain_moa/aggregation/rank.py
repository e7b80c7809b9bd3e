"""Rank: every proposer ranks the others' answers without knowing whose they are; the aggregator gets them best first."""

from __future__ import annotations

from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langgraph.graph import END
from typing_extensions import override

from langchain_moa.nodes.aggregate import AGGREGATOR, Aggregate
from langchain_moa.nodes.calls import emit
from langchain_moa.nodes.consult import Consult
from langchain_moa.state import turn_of
from langchain_moa.step import steps_of
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.ballot import Ballot
from langchain_moa.strategies.decision import decide
from langchain_moa.strategies.definition import strategy
from langchain_moa.strategies.instructions import FAIR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph.graph import StateGraph

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.reference import Reference
    from langchain_moa.state import RunState
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Rank"]

_FEWEST = 2
"""There is nothing to rank in fewer answers."""

PEER = (
    "You rank responses to a conversation's last message from best to worst: correct first of all, then helpful, complete and "
    f"clear. {FAIR}"
)
"""What each proposer is told it is."""


@strategy
class Rank(Aggregation):
    """Anonymous peer ranking (llm-council), then synthesis: the references stand in the order of their mean rank.

    The proposers of the last layer rank, in parallel, each all references but its own, under labels and in an order drawn
    from a seed. A ranking that does not name each exactly once is asked for once more and then does not count. References
    of the same mean rank keep the proposers' order, and so do all if no ranking counts.

    Attributes:
        seed: Another seed draws other orders.

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
    def add_to(self, builder: StateGraph[Any, Any], mixture: Mixture) -> list[str]:
        peers = mixture.members.layers[-1]
        nodes = [f"rank_{position:0{len(str(len(peers)))}}" for position in range(1, len(peers) + 1)]
        for position, (node, peer) in enumerate(zip(nodes, peers, strict=True), start=1):
            work = partial(self._rank, peer=peer, position=position)
            builder.add_node(node, Consult(work, mixture, node=node), metadata={"model": peer.id})
        builder.add_node(
            "best_first",
            Consult(partial(self._order, rankers=list(zip(nodes, peers, strict=True))), mixture, node="best_first"),
        )
        writer = Aggregate.of(mixture, prompt=mixture.shown)
        builder.add_node(AGGREGATOR, writer, metadata={"model": mixture.members.aggregator.id})
        builder.add_edge(nodes, "best_first")
        builder.add_edge("best_first", AGGREGATOR)
        builder.add_edge(AGGREGATOR, END)
        return nodes

    def _ballot(self, state: RunState, peer: Member, position: int) -> Ballot:
        return Ballot.of([each for each in state.get("merged", []) if not _is_by(each, peer, position)], seed=self.seed)

    def _rank(self, state: RunState, *, peer: Member, position: int) -> Inquiry[dict[str, Any]]:
        ballot = self._ballot(state, peer, position)
        if len(ballot.labels) >= _FEWEST:
            form = f"all labels from best to worst, like {' > '.join(f'[[{label}]]' for label in ballot.labels)}"
            question = f"Rank the responses. Think briefly, then end with a last line of {form}."
            ask = ballot.ask(state["messages"], instruction=PEER, question=question, name="peer", model=peer.spec)
            yield from decide(ask, ballot.ranking_in, form=form)
        return {}

    def _order(self, state: RunState, *, rankers: Sequence[tuple[str, Member]]) -> dict[str, Any]:
        references = state.get("merged", [])
        places: list[list[float]] = [[] for _ in references]
        steps = steps_of(state.get("steps", []), turn_of(state["messages"]))
        for position, (node, peer) in enumerate(rankers, start=1):
            ballot = self._ballot(state, peer, position)
            # What was said last counts: it is the reply, or the repair.
            said = [step["text"] for step in steps if step["node"] == node][-1:]
            for ranking in filter(None, map(ballot.ranking_in, said)):
                for rank, label in enumerate(ranking):
                    place = next(i for i, each in enumerate(references) if each is ballot.labelled[label])
                    # From 0, the best, to 1: a ranker's own answer is missing from its ballot.
                    places[place].append(rank / (len(ranking) - 1))
        means = [fmean(ranks) if ranks else None for ranks in places]
        known = [mean for mean in means if mean is not None]
        # An answer that nobody could rank stands in the middle.
        order = sorted(range(len(references)), key=lambda i: fmean(known) if known and means[i] is None else means[i] or 0.0)
        ranked = [references[i] for i in order]
        emit("ranked", references=[each["proposer"] for each in ranked])
        return {"merged": ranked}


def _is_by(reference: Reference, peer: Member, position: int) -> bool:
    # The name, too: with a set for each layer, and an early exit, the place may be another's.
    return reference["proposer"] == position and reference["name"] == peer.name
