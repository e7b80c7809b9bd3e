"""A comparison: every variant asked every question, each call paid for once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_moa.errors import MoAError
from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.evaluation.recorded import Run, under
from langchain_moa.evaluation.variants import first_variants, self_moa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_moa.evaluation.budget import Budget
    from langchain_moa.evaluation.judge import Judge
    from langchain_moa.evaluation.ledger import Entry, Ledger
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.evaluation.variants import Kind, Variant
    from langchain_moa.mixture.mixture import Mixture

_NO_LIMIT = 10_000

# Answers that fail one after the other, from the first on, before it is clear that something is wrong with the mixture.
_HOPELESS = 5


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One variant's answer to one question.

    Attributes:
        text: The answer; empty where there is none.
        error: Why there is none.
        calls: How many calls it took, whether or not another variant made them, too.
        seconds: What it took by itself: of each layer the slowest call, and every call after the layers.
        cost_usd: US dollars that it took by itself; `None` where a price is not known.
    """

    text: str
    error: str | None = None
    calls: int = 0
    seconds: float = 0.0
    cost_usd: float | None = None

    @classmethod
    def of(cls, text: str, entries: Sequence[Entry], error: str | None = None) -> Answer:
        """Return the answer that calls came to."""
        slowest: dict[str, float] = defaultdict(float)
        for number, entry in enumerate(entries):
            layer, is_layer, _ = entry.place.partition(", proposer ")
            # One after the other, but for the proposers of a layer.
            stage = layer if is_layer else f"step {number}"
            slowest[stage] = max(slowest[stage], entry.seconds)
        costs = [entry.cost_usd for entry in entries]
        known = [cost for cost in costs if cost is not None]
        cost = sum(known) if entries and len(known) == len(costs) else None
        return cls(text=text, error=error, calls=len(entries), seconds=sum(slowest.values()), cost_usd=cost)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A variant and its answers.

    Attributes:
        name: What the table calls it.
        kind: What kind of variant it is.
        answers: One for each question and epoch, question by question.
        scores: One for each question, from 0 to 1: the mean over its epochs.
    """

    name: str
    kind: Kind
    answers: Sequence[Sequence[Answer]]
    scores: Sequence[float]

    @property
    def score(self) -> float:
        """The mean over the questions."""
        return fmean(self.scores)


@dataclass(kw_only=True)
class Comparison:
    """Asks every variant every question.

    Attributes:
        mixture: The mixture.
        questions: The questions.
        ledger: Where calls are kept.
        budget: What may be spent.
        score: Scores an answer by itself; `None` where a judge compares answers.
        judge: Compares the answers of two variants.
        epochs: How often each question is asked.
        concurrency: How many questions are under way at once.
        on_answer: Told, whenever a variant has answered a question, how many answers there will be in all.
    """

    mixture: Mixture
    questions: Sequence[Question]
    ledger: Ledger
    budget: Budget
    score: Scorer | None = None
    judge: Judge | None = None
    epochs: int = 1
    concurrency: int = 8
    on_answer: Callable[[int], None] = lambda _: None
    _failures: int = field(default=0, init=False)

    async def run(self) -> list[Result]:
        """Ask all that has not been asked before.

        Returns:
            The mixture first, then its layers, its members and Self-MoA.

        Raises:
            EvaluationError: The money was not enough, or nothing but failures came.
        """
        working = asyncio.ensure_future(self._results())
        stopping = asyncio.ensure_future(self.budget.exhausted.wait())
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            msg = (
                f"the next call would exceed max-cost-usd; ${self.budget.spent:.4f} of it is spent, and nothing is lost: the "
                "same command with a higher limit goes on from here"
            )
            raise EvaluationError(msg)
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)

    async def _results(self) -> list[Result]:
        variants = first_variants(self.mixture, self.ledger)
        # Self-MoA comes last, and in most comparisons it comes.
        answers = await self._ask(variants, total=self._answers(len(variants) + 1))
        results = await self._scored(variants, answers)
        members = [place for place, variant in enumerate(variants) if variant.kind == "member"]
        best = variants[max(members, key=lambda place: results[place].score)]
        calls = [answer.calls for of_question in answers[variants[0].name] for answer in of_question if answer.error is None]
        found = best.member and self._spec_of(best)
        last = self_moa(self.mixture, found, self.ledger, calls=round(fmean(calls))) if found and calls else None
        if last is None:
            return results
        more = await self._ask([last], total=self._answers(len(variants) + 1))
        return await self._scored([*variants, last], {**answers, **more})

    def _spec_of(self, variant: Variant) -> Any:
        """Return the member of a variant as it is without the ledger."""
        members = self.mixture.members
        everyone = [*members.layers[0], members.aggregator]
        return next(member for member in everyone if variant.member is not None and member.spec is variant.member.spec)

    def _answers(self, variants: int) -> int:
        return variants * len(self.questions) * self.epochs

    async def _ask(self, variants: Sequence[Variant], *, total: int) -> dict[str, list[list[Answer]]]:
        free = asyncio.Semaphore(self.concurrency)
        answers: dict[str, list[list[Answer]]] = {
            variant.name: [[Answer(text="")] * self.epochs for _ in self.questions] for variant in variants
        }

        async def ask(place: int, epoch: int) -> None:
            async with free:
                for variant in variants:
                    answer = await self._answer(variant, self.questions[place], epoch)
                    answers[variant.name][place][epoch - 1] = answer
                    self.on_answer(total)

        try:
            async with asyncio.TaskGroup() as group:
                for epoch in range(1, self.epochs + 1):
                    for place in range(len(self.questions)):
                        group.create_task(ask(place, epoch))
        except ExceptionGroup as errors:
            # One reason is enough, and the first is the one that ended the others.
            raise errors.exceptions[0] from None
        return answers

    async def _answer(self, variant: Variant, question: Question, epoch: int) -> Answer:
        with under(Run(question=question.id, epoch=epoch)) as run:
            try:
                state = await variant.graph.ainvoke({"messages": question.messages}, {"recursion_limit": _NO_LIMIT})
            except MoAError as error:
                self._count_failure(error)
                return Answer.of("", run.entries, str(error))
        self._failures = -1
        return Answer.of(str(state["messages"][-1].text), run.entries)

    def _count_failure(self, error: MoAError) -> None:
        """Give up where nothing but failures has come: each may have cost something."""
        if self._failures < 0:
            return
        self._failures += 1
        if self._failures >= _HOPELESS:
            msg = f"the first {_HOPELESS} answers all failed; the last: {error}"
            raise EvaluationError(msg)

    async def _scored(self, variants: Sequence[Variant], answers: Mapping[str, list[list[Answer]]]) -> list[Result]:
        scores = await self._scores({variant.name: answers[variant.name] for variant in variants})
        return [
            Result(name=variant.name, kind=variant.kind, answers=answers[variant.name], scores=scores[variant.name])
            for variant in variants
        ]

    async def _scores(self, answers: Mapping[str, list[list[Answer]]]) -> dict[str, list[float]]:
        if self.judge is not None:
            return await self.judge.scores(self.questions, answers, concurrency=self.concurrency)
        score = self.score
        if score is None:
            msg = "a comparison needs a scorer or a judge"
            raise EvaluationError(msg)
        return {
            name: [
                fmean(0.0 if answer.error is not None else score(answer.text, question) for answer in epochs)
                for question, epochs in zip(self.questions, rows, strict=True)
            ]
            for name, rows in answers.items()
        }
