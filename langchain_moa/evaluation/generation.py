"""Generating answers for a harness: many questions at once, none paid for twice, not more than a given sum."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_moa.data.answer import reference_text
from langchain_moa.data.errors import MoAError
from langchain_moa.data.state import MoAContext
from langchain_moa.engine.graph import build_aggregator, build_alone, build_graph
from langchain_moa.evaluation.alone import MemberName
from langchain_moa.evaluation.answer import reason_of
from langchain_moa.evaluation.call import Run
from langchain_moa.evaluation.harnesses.harness import Answered
from langchain_moa.evaluation.patience import Patience
from langchain_moa.evaluation.recorded import recorded, recorded_member, under

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from langchain_moa.data.reference import Reference
    from langchain_moa.evaluation.call import FailedCall
    from langchain_moa.evaluation.gate import Reason
    from langchain_moa.evaluation.harnesses.harness import BenchmarkQuestion, Harness
    from langchain_moa.evaluation.ledger import Ledger
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


@dataclass(kw_only=True)
class Outcome:
    """What a run has come to so far.

    Attributes:
        answered: The questions that have their answers.
        failed: Those that have none, each with the reason.
        without: The calls that failed and that an answer did without, answer by answer.
        kept: How many of the answered ones took no call, because the ledger had all.
        ended: Why it has ended early, if it has.
    """

    answered: list[Answered] = field(default_factory=list)
    failed: list[tuple[BenchmarkQuestion, str]] = field(default_factory=list)
    without: list[Sequence[FailedCall]] = field(default_factory=list)
    kept: int = 0
    ended: Reason | None = None

    @property
    def done(self) -> int:
        """How many questions have been asked."""
        return len(self.answered) + len(self.failed)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A mixture's answers to a benchmark's questions.

    Every turn of every question goes through all layers; of earlier turns only the final answers are in the history. What a
    call has answered is in the ledger, so a run that was ended asks only what is missing.

    Attributes:
        harness: The benchmark's tool.
        mixture: Who answers.
        questions: What is asked.
        ledger: Where calls are kept, opened.
        model: What the mixture is called in the answers.
        references: For each question's id the references to aggregate, in place of the proposers'. Default: none.
        member: The member that answers alone, in place of the mixture: its number, name or model id, or `aggregator`. Default:
            none.
        concurrency: How many questions are under way at once. Default: 8.
        own_settings: Whether temperature and longest answer are the mixture's own. Default: they are the benchmark's.
    """

    harness: Harness
    mixture: Mixture
    questions: Sequence[BenchmarkQuestion]
    ledger: Ledger
    model: str
    references: Mapping[Hashable, list[Reference]] | None = None
    member: str | None = None
    concurrency: int = 8
    own_settings: bool = False

    async def run(self, watch: Callable[[int, int, str], object] = lambda *_: None) -> Outcome:
        """Ask what has not been answered yet.

        Args:
            watch: Told how many questions there are so far, how many there will be, and of what.

        Returns:
            The outcome, its answers in the order of the questions.

        Raises:
            ValueError: There is no such member.
        """
        outcome = Outcome()
        run = _Running(self, outcome, watch)
        waiting = iter(self.questions)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.concurrency):
                tasks.create_task(run.work(waiting))
        places = {id(question): place for place, question in enumerate(self.questions)}
        outcome.answered.sort(key=lambda answered: places[id(answered.question)])
        outcome.failed.sort(key=lambda failed: places[id(failed[0])])
        outcome.ended = self.ledger.gate.reason
        return outcome

    def document(self, outcome: Outcome) -> str:
        """Return the answer file's text.

        Args:
            outcome: What `run` returned.
        """
        return self.harness.document(self.harness.answer(answered) for answered in outcome.answered)


def asked(mixture: Mixture, *, member: str | None, has_references: bool) -> list[Member]:
    """Return whom a turn asks, if the aggregation asks one model and no layer ends early: one call each.

    Args:
        mixture: The mixture.
        member: The member that answers alone, if one does.
        has_references: Whether there are references in place of the proposers'.

    Raises:
        ValueError: There is no such member.
    """
    if member is not None:
        return [MemberName(text=member).find(mixture)]
    members = mixture.members
    last = [members.aggregator] if mixture.aggregator is not None else []
    return last if has_references else [*(each for layer in members.layers for each in layer), *last]


class _Running:
    """A run that is under way."""

    def __init__(self, given: Generation, outcome: Outcome, watch: Callable[[int, int, str], object]) -> None:
        self._given = given
        self._outcome = outcome
        self._watch = watch
        self._patience = Patience(given.ledger.gate, concurrency=given.concurrency)
        self._graph: Any = self._builder().compile(checkpointer=False)

    async def work(self, waiting: Iterator[BenchmarkQuestion]) -> None:
        # When the money is used up, what stands in the ledger is still read; somebody who wants to leave is not kept.
        while self._given.ledger.gate.reason != "signal" and (question := next(waiting, None)) is not None:
            await self._ask(question)
            self._watch(self._outcome.done, len(self._given.questions), "questions")

    def _builder(self) -> Any:
        given = self._given
        if given.member is not None:
            member = MemberName(text=given.member).find(given.mixture)
            return build_alone(given.mixture, recorded_member(member, given.ledger, "alone"))
        mixture = recorded(given.mixture, given.ledger)
        return build_graph(mixture) if given.references is None else build_aggregator(mixture)

    async def _ask(self, question: BenchmarkQuestion) -> None:
        said: list[BaseMessage] = []
        texts: list[str] = []
        # What has been said before is part of the question of a turn; its samples are those of the whole.
        with under(Run.of(str(question.id), [HumanMessage(turn) for turn in question.turns])) as run:
            try:
                for turn in question.turns:
                    texts.append(await self._turn(question, [*said, HumanMessage(turn)]))
                    said += [HumanMessage(turn), AIMessage(texts[-1])]
            except MoAError as error:
                self._failed(question, run, error)
                return
        if run.is_halted:
            return
        self._patience.count(self._given.model, None)
        self._count_proposers(run)
        self._outcome.kept += not run.made
        time = max((entry.time for entry in run.entries), default=0.0)
        self._outcome.answered.append(Answered(question=question, texts=tuple(texts), model=self._given.model, time=time))

    def _failed(self, question: BenchmarkQuestion, run: Run, error: MoAError) -> None:
        if not run.is_halted:
            reason = reason_of(error)
            self._outcome.failed.append((question, reason))
            self._patience.count(self._given.model, reason)

    def _count_proposers(self, run: Run) -> None:
        """Count who of a layer has answered: without a member that is gone, the mixture would be another one."""
        for entry in run.entries:
            self._patience.count(f"{entry.place} ({entry.model})", None)
        for call in run.failed.values():
            # An aggregator has stand-ins for that.
            if call.layer is not None:
                self._patience.count(call.who, call.reason)
        if run.failed:
            self._outcome.without.append(tuple(run.failed.values()))

    async def _turn(self, question: BenchmarkQuestion, messages: list[BaseMessage]) -> str:
        """Return the final answer to the last message, without the spaces around it, as the paper's code has it."""
        given: dict[str, Any] = {"messages": messages}
        if self._given.references is not None:
            given["merged"] = self._given.references[question.id]
        settings = {"temperature": question.temperature, "max_tokens": question.max_tokens}
        context = MoAContext(model_kwargs={} if self._given.own_settings else settings)
        # Twice the steps that the graph can take.
        state = await self._graph.ainvoke(given, {"recursion_limit": 2 * len(self._graph.nodes)}, context=context)
        return reference_text(state["messages"][-1]).strip()
