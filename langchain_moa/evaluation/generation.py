"""Generating answers for a harness: many questions at once, none paid for twice, not more than a given sum."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa.errors import MoAError, ProposersFailedError
from langchain_moa.evaluation.harnesses.harness import Answered
from langchain_moa.evaluation.journal import opened
from langchain_moa.graph.graph import build_aggregator
from langchain_moa.reference import reference_text
from langchain_moa.state import MoAContext
from langchain_moa.usage import cost_usd, spent_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.types import StateSnapshot

    from langchain_moa.evaluation.harnesses.harness import Harness, Question
    from langchain_moa.evaluation.journal import Journal
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.reference import Reference

# How a mixture is run; it has no part in what the answers are.
_OPERATION = {"max_concurrency", "max_cost_usd", "timeout", "max_retries", "retry", "proposer_timeout", "deadline"}

_GIVE_UP_AFTER = 8


@dataclass(kw_only=True)
class Outcome:
    """What a run has come to so far.

    Attributes:
        answered: The questions that have their answers.
        failed: Those that have none, each with the reason.
        kept: How many of the answered ones were in the journal already.
        cost_usd: What all calls have cost, those of earlier runs too; those whose price is not known count as nothing.
        ended: Why it has ended early, if it has.
    """

    answered: list[Answered] = field(default_factory=list)
    failed: list[tuple[Question, str]] = field(default_factory=list)
    kept: int = 0
    cost_usd: float = 0.0
    ended: Literal["cost", "failures"] | None = None

    @property
    def done(self) -> int:
        """How many questions have been asked."""
        return len(self.answered) + len(self.failed)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A mixture's answers to a benchmark's questions.

    Every turn of every question goes through all layers; of earlier turns only the final answers are in the history. What a
    call has answered is in the journal, so a run that was killed asks only what is missing.

    Attributes:
        harness: The benchmark's tool.
        mixture: Who answers.
        questions: What is asked.
        journal: The file that remembers what has been answered.
        model: What the mixture is called in the answers.
        references: For each question's id the references to aggregate, in place of the proposers'. Default: none.
        concurrency: How many questions are under way at once. Default: 8.
        max_cost_usd: US dollars after which no further question is begun; what is under way is brought to its end. What
            earlier runs have spent counts. Default: no limit.
        own_settings: Whether temperature and longest answer are the mixture's own. Default: they are the benchmark's.

    Raises:
        ValueError: At construction: a limit in dollars, and the price of a member is not known.
    """

    harness: Harness
    mixture: Mixture
    questions: Sequence[Question]
    journal: Path
    model: str
    references: Mapping[Hashable, list[Reference]] | None = None
    concurrency: int = 8
    max_cost_usd: float | None = None
    own_settings: bool = False

    def __post_init__(self) -> None:
        """Refuse a limit that could not hold."""
        if self.max_cost_usd is not None and (unknown := sorted(set(self._unpriced()))):
            msg = f"a limit in dollars needs the price of every member, and there is none for {', '.join(unknown)}"
            raise ValueError(msg)

    @property
    def calls_per_turn(self) -> int:
        """How many calls a turn takes, if the aggregation asks one model and no layer ends early."""
        members = self.mixture.members
        return 1 if self.references is not None else sum(map(len, members.layers)) + (self.mixture.aggregator is not None)

    async def run(self, watch: Callable[[Outcome], object] = lambda _: None) -> Outcome:
        """Ask what has not been answered yet.

        Args:
            watch: Sees the outcome whenever a question is done.

        Returns:
            The outcome, its answers in the order of the questions.

        Raises:
            JournalError: The journal belongs to another run.
            ImportError: The `eval` extra is not installed.
        """
        outcome = Outcome()
        async with AsyncExitStack() as stack:
            journal = await stack.enter_async_context(opened(self.journal, self._made_with()))
            builder = self.mixture.to_graph() if self.references is None else build_aggregator(self.mixture)
            run = _Run(self, builder.compile(journal.saver), journal, outcome=outcome, watch=watch)
            waiting = iter(await run.unanswered())
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self.concurrency):
                    tasks.create_task(run.work(waiting))
        places = {id(question): place for place, question in enumerate(self.questions)}
        outcome.answered.sort(key=lambda answered: places[id(answered.question)])
        outcome.failed.sort(key=lambda failed: places[id(failed[0])])
        return outcome

    def document(self, outcome: Outcome) -> str:
        """Return the answer file's text.

        Args:
            outcome: What `run` returned.
        """
        return self.harness.document(self.harness.answer(answered) for answered in outcome.answered)

    def _made_with(self) -> dict[str, Any]:
        mixture = {name: value for name, value in self.mixture.describe().items() if name not in _OPERATION}
        references = None
        if self.references is not None:
            said = repr([[reference["text"] for reference in each] for each in self.references.values()])
            references = hashlib.sha256(said.encode()).hexdigest()
        return {
            "benchmark": self.harness.name,
            "mixture": mixture,
            "references": references,
            "settings": "the mixture's" if self.own_settings else "the benchmark's",
        }

    def _unpriced(self) -> Iterator[str]:
        members = self.mixture.members
        asked = [] if self.references is not None else [member for layer in members.layers for member in layer]
        last = [members.aggregator] if self.mixture.aggregator is not None else []
        one = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        for member in [*asked, *last, *members.fallbacks, *(member for _, member in members.others)]:
            if cost_usd(member.id, one) is None:  # type: ignore[arg-type]  # a plain dict is one
                yield member.id


class _Run:
    """A run that is under way."""

    def __init__(
        self, given: Generation, graph: Any, journal: Journal, *, outcome: Outcome, watch: Callable[[Outcome], object]
    ) -> None:
        self._given = given
        self._graph = graph
        self._journal = journal
        self._outcome = outcome
        self._watch = watch
        self._failures = 0
        self._under_way = 0

    async def unanswered(self) -> list[Question]:
        """Return the questions that are still to be asked; those that the journal answers go to the outcome."""
        missing = []
        for question in self._given.questions:
            state = await self._graph.aget_state(self._config(question))
            self._outcome.cost_usd += _spent(state)
            if self._is_answered(question, state):
                self._outcome.answered.append(self._answered(question, state))
                self._outcome.kept += 1
            else:
                missing.append(question)
        self._watch(self._outcome)
        return missing

    async def work(self, waiting: Iterator[Question]) -> None:
        while not self._has_ended() and (question := next(waiting, None)) is not None:
            self._under_way += 1
            try:
                await self._ask(question)
            finally:
                self._under_way -= 1
            self._watch(self._outcome)

    def _has_ended(self) -> bool:
        outcome, most = self._outcome, self._given.max_cost_usd
        if self._failures >= max(_GIVE_UP_AFTER, self._given.concurrency):
            outcome.ended = "failures"
        elif most is not None and outcome.cost_usd + self._expected() >= most:
            outcome.ended = "cost"
        return outcome.ended is not None

    def _expected(self) -> float:
        """What is under way will cost, if it costs what the others have cost."""
        return self._under_way * self._outcome.cost_usd / max(self._outcome.done, 1)

    async def _ask(self, question: Question) -> None:
        config = self._config(question)
        state = await self._graph.aget_state(config)
        before = _spent(state)
        try:
            while not self._is_answered(question, state):
                await self._turn(question, state)
                state = await self._graph.aget_state(config)
        except MoAError as error:
            self._failures += 1
            self._outcome.failed.append((question, str(error)))
            state = await self._graph.aget_state(config)
        else:
            self._failures = 0
            self._outcome.answered.append(self._answered(question, state))
            await self._journal.forget_steps(question.key)
        self._outcome.cost_usd += _spent(state) - before

    async def _turn(self, question: Question, state: StateSnapshot) -> None:
        """Ask the next turn, or bring the one that was begun to its end."""
        number = len(_answers(state))
        # With an id of our own the turn that is begun anew is not a second one.
        given: dict[str, Any] = {"messages": [HumanMessage(question.turns[number], id=f"turn {number + 1}")]}
        if self._given.references is not None:
            given["merged"] = self._given.references[question.id]
        if state.next:
            try:
                await self._invoke(question, None)
            except ProposersFailedError:
                # Those that failed are kept as failed; asked anew, they may do better.
                await self._invoke(question, given)
        else:
            await self._invoke(question, given)

    async def _invoke(self, question: Question, given: dict[str, Any] | None) -> None:
        settings = {"temperature": question.temperature, "max_tokens": question.max_tokens}
        context = MoAContext(model_kwargs={} if self._given.own_settings else settings)
        # What has been answered is on the disk before anything further is asked.
        await self._graph.ainvoke(given, self._config(question), context=context, durability="sync")

    def _config(self, question: Question) -> RunnableConfig:
        # Twice the steps that the graph can take.
        return {"configurable": {"thread_id": question.key}, "recursion_limit": 2 * len(self._graph.nodes)}

    def _is_answered(self, question: Question, state: StateSnapshot) -> bool:
        return len(_answers(state)) == len(question.turns) and not state.next

    def _answered(self, question: Question, state: StateSnapshot) -> Answered:
        texts = tuple(reference_text(message).strip() for message in _answers(state))
        time = datetime.fromisoformat(state.created_at or "").timestamp()
        return Answered(question=question, texts=texts, model=self._given.model, time=time)


def _answers(state: StateSnapshot) -> list[AIMessage]:
    return [message for message in state.values.get("messages", []) if isinstance(message, AIMessage)]


def _spent(state: StateSnapshot) -> float:
    """Return what a question has cost: its answers, and the calls of a turn that is not answered yet."""
    total = 0.0
    for message in _answers(state):
        moa = message.response_metadata["moa"]
        calls = [*(call for layer in moa["layers"] for call in layer), *moa.get("steps", ()), moa["aggregator"]]
        total += sum(call.get("cost_usd", 0.0) for call in calls if call is not None)
    if state.next:
        total += spent_usd([*state.values.get("references", []), *state.values.get("steps", [])])
    return total
