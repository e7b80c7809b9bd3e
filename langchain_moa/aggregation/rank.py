"""Rank: every proposer ranks the others' answers without knowing whose they are; the aggregator gets them best first."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END
from typing_extensions import override

from langchain_moa.nodes.aggregate import AGGREGATOR, Aggregate
from langchain_moa.nodes.calls import emit
from langchain_moa.nodes.consult import Consult
from langchain_moa.nodes.consultation import Consultation
from langchain_moa.resilience.deadline import Limit
from langchain_moa.resilience.quorum import Closing, Rounds, quorum_of
from langchain_moa.state import RunState, references_of, turn_of
from langchain_moa.step import steps_of
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.ballot import Ballot
from langchain_moa.strategies.decision import decide
from langchain_moa.strategies.definition import strategy
from langchain_moa.strategies.instructions import FAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langgraph.graph import StateGraph

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.reference import Reference
    from langchain_moa.resilience.quorum import Round
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
    from a seed. One that gave no good answer in that layer ranks none. A ranking that does not name each reference exactly
    once is asked for once more, and then does not count. References of the same mean rank keep the proposers' order, and so
    do all if no ranking counts.

    `proposer_timeout` and `quorum` hold for rankings as for answers: one that is late is recorded, and left out.

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
        # With an early exit, any layer may turn out to be the last.
        layers = mixture.members.layers if mixture.may_stop else mixture.members.layers[-1:]
        width = max(map(len, layers))
        nodes = [f"rank_{position:0{len(str(width))}}" for position in range(1, width + 1)]
        quorum = quorum_of(mixture.quorum, width)
        rounds = None if quorum is None else Rounds(Closing(size=width, quorum=quorum, grace=mixture.quorum_grace))
        for position, node in enumerate(nodes, start=1):
            model = next(layer[position - 1].id for layer in reversed(layers) if len(layer) >= position)
            ranking = _Ranking(partial(self._rank, mixture=mixture, position=position), mixture, node=node, rounds=rounds)
            builder.add_node(node, ranking, metadata={"model": model})
        order = Consult(partial(self._order, mixture=mixture, nodes=nodes), mixture, node="best_first")
        builder.add_node("best_first", order)
        writer = Aggregate.of(mixture, prompt=mixture.shown)
        builder.add_node(AGGREGATOR, writer, metadata={"model": mixture.members.aggregator.id})
        builder.add_edge(nodes, "best_first")
        builder.add_edge("best_first", AGGREGATOR)
        builder.add_edge(AGGREGATOR, END)
        return nodes

    def _ballot(self, state: RunState, peer: Member, position: int) -> Ballot:
        return Ballot.of([each for each in state.get("merged", []) if not _is_by(each, peer, position)], seed=self.seed)

    def _rank(self, state: RunState, *, mixture: Mixture, position: int) -> Inquiry[list[str] | None]:
        if (peer := _peer(state, mixture, position)) is None:
            return None
        ballot = self._ballot(state, peer, position)
        if len(ballot.labels) < _FEWEST:
            return None
        form = f"all labels from best to worst, like {' > '.join(f'[[{label}]]' for label in ballot.labels)}"
        question = f"Rank the responses. Think briefly, then end with a last line of {form}."
        ask = ballot.ask(state["messages"], instruction=PEER, question=question, name="peer", model=peer.spec)
        ranking, _ = yield from decide(ask, ballot.ranking_in, form=form)
        return ranking

    def _order(self, state: RunState, *, mixture: Mixture, nodes: Sequence[str]) -> dict[str, Any]:
        references = state.get("merged", [])
        places: dict[int, list[float]] = {id(each): [] for each in references}
        # What was said last counts: it is the reply, or the repair.
        said = {step["node"]: step["text"] for step in steps_of(state.get("steps", []), turn_of(state["messages"]))}
        for position, node in enumerate(nodes, start=1):
            ranking = self._ranking(state, _peer(state, mixture, position), position, said.get(node, ""))
            for rank, reference in enumerate(ranking):
                # From 0, the best, to 1: a ranker's own answer is missing from its ballot.
                places[id(reference)].append(rank / (len(ranking) - 1))
        means = {key: fmean(ranks) for key, ranks in places.items() if ranks}
        # An answer that nobody could rank stands in the middle.
        middle = fmean(means.values()) if means else 0.0
        ranked = sorted(references, key=lambda each: means.get(id(each), middle))
        emit("ranked", references=[each["proposer"] for each in ranked])
        return {"merged": ranked}

    def _ranking(self, state: RunState, peer: Member | None, position: int, said: str) -> list[Reference]:
        if peer is None:
            return []
        ballot = self._ballot(state, peer, position)
        return [ballot.labelled[label] for label in ballot.ranking_in(said) or ()]


class _Ranking(Runnable[RunState, dict[str, Any]]):
    """A node in which one proposer ranks; the others do not wait for it for ever."""

    def __init__(
        self,
        work: Callable[[RunState], Inquiry[list[str] | None]],
        mixture: Mixture,
        *,
        node: str,
        rounds: Rounds | None,
    ) -> None:
        self._work = work
        self._mixture = mixture
        self._node = node
        self._rounds = rounds

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Rank."""
        with self._joined(input, config) as (consultation, current):
            ranking = consultation.run(self._work, input, given=input, name=self._node)
            if current is not None and ranking is not None:
                current.answered()
        return {"steps": consultation.steps}

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Rank without blocking."""
        with self._joined(input, config) as (consultation, current):
            ranking = await consultation.arun(self._work, input, given=input, name=self._node)
            if current is not None and ranking is not None:
                current.answered()
        return {"steps": consultation.steps}

    @contextmanager
    def _joined(self, state: RunState, config: RunnableConfig | None) -> Iterator[tuple[Consultation, Round | None]]:
        """Be in the round of those that rank, if it may close early."""
        timeout = self._mixture.proposer_timeout
        with ExitStack() as stack:
            current, limit = None, None if timeout is None else Limit(timeout=timeout)
            if self._rounds is not None:
                current, limit = stack.enter_context(self._rounds.joined(state.get("started"), timeout))
            yield Consultation(self._mixture, state, config or {}, self._node, limit=limit), current


def _peer(state: RunState, mixture: Mixture, position: int) -> Member | None:
    """Return who ranks at a position: the proposer that gave a good answer there in the last layer; `None` if none did."""
    of_turn = references_of(state)
    last = max((each["layer"] for each in of_turn), default=0)
    answered = {each["proposer"] for each in of_turn if each["layer"] == last and each["status"] == "ok"}
    return mixture.members.layers[last - 1][position - 1] if position in answered else None


def _is_by(reference: Reference, peer: Member, position: int) -> bool:
    # The name, too: where a layer falls back, the place may have been another's in the layer before.
    return reference["proposer"] == position and reference["name"] == peer.name
