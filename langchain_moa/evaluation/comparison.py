"""Compare a mixture with its variants: every variant answers every question, and shared calls are made once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_moa.batch.asker import ask_graph
from langchain_moa.batch.calls import QuestionRun, reason_of
from langchain_moa.batch.limits import CircuitBreaker, HaltedError
from langchain_moa.batch.pace import Paces, with_own_retries
from langchain_moa.batch.workers import ask_all
from langchain_moa.evaluation.judge import EVEN, PairwiseJudge, judging
from langchain_moa.evaluation.variants import first_variants, self_moa
from langchain_moa.members.member import Member

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.batch.calls import FailedCall
    from langchain_moa.data.errors import MoAError
    from langchain_moa.evaluation.judge import JudgeTally
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.evaluation.variants import Kind, Variant
    from langchain_moa.mixture.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class VariantAnswer:
    """One variant's answer to one question.

    Attributes:
        text: The answer; empty if there is none.
        error: The error, or `None`.
        failed: The failed calls, even if the mixture answered without them.
        calls: The number of calls, including those shared with other variants.
        seconds: The duration without sharing: the slowest call of each layer, plus every call after the layers.
        cost_usd: The cost without sharing, in US dollars; `None` if a price is unknown.
    """

    text: str
    error: str | None = None
    failed: Sequence[FailedCall] = ()
    calls: int = 0
    seconds: float = 0.0
    cost_usd: float | None = None

    @classmethod
    def of(cls, text: str, run: QuestionRun, *, error: MoAError | None = None) -> VariantAnswer:
        """Return the answer of a run.

        Args:
            text: The answer.
            run: The run, with its calls.
            error: The error, or `None`.
        """
        slowest: dict[Hashable, float] = defaultdict(float)
        for number, entry in enumerate(run.records):
            # Calls are sequential, except those of the proposers of a layer.
            stage = ("layer", entry.layer) if entry.layer is not None else number
            slowest[stage] = max(slowest[stage], entry.seconds)
        costs = [entry.cost_usd for entry in run.records]
        known = [cost for cost in costs if cost is not None]
        return cls(
            text=text,
            error=None if error is None else reason_of(error),
            failed=tuple(run.failed.values()),
            calls=len(run.records),
            seconds=sum(slowest.values()),
            cost_usd=sum(known) if known and len(known) == len(costs) else None,
        )


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """A variant and its answers.

    Attributes:
        name: The name in the table.
        kind: The kind of variant.
        answers: The answers, by question and epoch.
        scores: The score of each question, from 0 to 1: the mean over its epochs.
    """

    name: str
    kind: Kind
    answers: Sequence[Sequence[VariantAnswer]]
    scores: Sequence[float]

    @property
    def score(self) -> float:
        """The mean score over the questions."""
        return fmean(self.scores)

    @property
    def failed(self) -> float:
        """The share of answers that failed."""
        return fmean(answer.error is not None for answers in self.answers for answer in answers)


Answers: TypeAlias = "list[list[VariantAnswer]]"
"""A variant's answers, by question and epoch."""


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """The results of a comparison.

    Attributes:
        results: The results of the mixture, and then of its layers, its members and Self-MoA.
        tally: The statistics of the judge, or `None` without a judge.
    """

    results: Sequence[VariantResult]
    tally: JudgeTally | None = None


@dataclass(kw_only=True)
class MixtureComparison:
    """Asks every variant every question.

    Attributes:
        mixture: The mixture.
        questions: The questions.
        journal: The open journal of the calls.
        score: The scorer, or the judge that compares answers with those of the mixture.
        epochs: How often each question is asked. Default: once.
        concurrency: The maximum number of concurrent questions. Default: 8.
        with_self_moa: Whether to include Self-MoA: the best member with as many calls as the mixture. Set it to `False` for
            models that always return the same answer. Default: `True`.

    Example:
        ```python
        import asyncio
        from pathlib import Path

        from langchain_moa import Mixture
        from langchain_moa.batch.call_journal import CallJournal
        from langchain_moa.evaluation.comparison import MixtureComparison
        from langchain_moa.evaluation.summary import ComparisonSummary
        from langchain_moa.evaluation.questions import Question
        from langchain_moa.evaluation.scorers import resolve_scorer
        from langchain_moa.testing import ReplayChatModel

        questions = [Question(id="1", text="What is 2 + 2?", answers=("4",))]
        right = ReplayChatModel(model="right", answers={"What is 2 + 2?": "It is 4."})
        wrong = ReplayChatModel(model="wrong", answers={"What is 2 + 2?": "It is 5."})
        mixture = Mixture(proposers=[right, wrong], aggregation="medoid", num_layers=1)
        with CallJournal(Path("calls.journal")) as journal:
            comparison = MixtureComparison(
                mixture=mixture,
                questions=questions,
                journal=journal,
                score=resolve_scorer("numeric", questions),
                with_self_moa=False,
            )
            findings = asyncio.run(comparison.run())
        print(*ComparisonSummary.of(findings).verdicts)
        ```
    """

    mixture: Mixture
    questions: Sequence[Question]
    journal: CallJournal
    score: Scorer | Member
    epochs: int = 1
    concurrency: int = 8
    with_self_moa: bool = True

    async def run(self, watch: Callable[[int, int, str], object] = lambda *_: None) -> ComparisonResult:
        """Make all calls that are not in the journal, and return the results.

        Args:
            watch: Called with the number done so far, the total, and the noun: answers, or comparisons.

        Raises:
            StoppedError: The run ended early: the budget was used up, a member failed too often in a row, or a signal.
            EvaluationError: The scorer failed.
        """
        return await _ComparisonRun(self, watch).findings()


class _ComparisonRun:
    """A running comparison."""

    def __init__(self, given: MixtureComparison, watch: Callable[[int, int, str], object]) -> None:
        self._given = given = replace(given, mixture=with_own_retries(given.mixture))
        self._watch = watch
        self._patience = CircuitBreaker(given.journal.gate, concurrency=given.concurrency)
        self._paces = Paces(gate=given.journal.gate)
        self._judge: PairwiseJudge | None = None
        if isinstance(given.score, Member):
            judge = self._paces.member(judging(given.score, given.mixture, given.journal))
            self._judge = PairwiseJudge(judge, patience=self._patience)
        self._done = 0

    async def findings(self) -> ComparisonResult:
        given = self._given
        variants = first_variants(given.mixture, given.journal, self._paces)
        # Self-MoA runs last, and only in most comparisons, so the total is an upper bound.
        total = (len(variants) + given.with_self_moa) * len(given.questions) * given.epochs
        answers = await self._ask(variants, total=total)
        results = await self._results(variants, answers, answers[0])
        members = [place for place, variant in enumerate(variants) if variant.kind == "member"]
        best = variants[max(members, key=lambda place: results[place].score)].member
        calls = [answer.calls for of_question in answers[0] for answer in of_question if answer.error is None]
        if best is not None and calls and given.with_self_moa:
            last = self_moa(given.mixture, best, given.journal, self._paces, calls=round(fmean(calls)), epochs=given.epochs)
            if last is not None:
                more = await self._ask([last], total=total)
                results += await self._results([last], more, answers[0])
        return ComparisonResult(results=results, tally=None if self._judge is None else self._judge.tally)

    async def _ask(self, variants: Sequence[Variant], *, total: int) -> list[Answers]:
        """Return the answers of each variant."""
        given = self._given
        answers = [[[VariantAnswer(text="")] * given.epochs for _ in given.questions] for _ in variants]

        async def ask(place: int, epoch: int) -> None:
            for number, variant in enumerate(variants):
                answers[number][place][epoch - 1] = await self._answer(variant, given.questions[place], epoch)
                if given.journal.gate.reason is not None:
                    return  # the run has ended, so this may not be an answer
                self._done += 1
                self._watch(self._done, total, "answers")

        await self._each(ask)
        return answers

    async def _each(self, work: Callable[[int, int], Awaitable[None]]) -> None:
        """Call a function for each question and epoch, with bounded concurrency."""
        given = self._given
        asked = [(place, epoch) for epoch in range(1, given.epochs + 1) for place in range(len(given.questions))]

        async def one(each: tuple[int, int]) -> None:
            await work(*each)

        await ask_all(asked, one, at_once=given.concurrency, goes_on=given.journal.gate.is_open)
        given.journal.gate.require_open()

    async def _answer(self, variant: Variant, question: Question, epoch: int) -> VariantAnswer:
        run = QuestionRun.of(question.id, question.messages, epoch=epoch)
        found = await ask_graph(variant.graph(epoch), run, question.messages)
        answer = VariantAnswer.of(found.text, run, error=found.error)
        if not run.is_halted:
            self._patience.count(variant.name, answer.error)
        return answer

    async def _results(self, variants: Sequence[Variant], answers: Sequence[Answers], baseline: Answers) -> list[VariantResult]:
        if self._judge is not None:
            scores = await self._compared(self._judge, answers, baseline)
        else:
            scores = [self._scored(rows) for rows in answers]
        return [
            VariantResult(name=variant.name, kind=variant.kind, answers=rows, scores=found)
            for variant, rows, found in zip(variants, answers, scores, strict=True)
        ]

    def _scored(self, rows: Answers) -> list[float]:
        score: Any = self._given.score
        return [
            fmean(0.0 if answer.error is not None else score(answer.text, question) for answer in epochs)
            for question, epochs in zip(self._given.questions, rows, strict=True)
        ]

    async def _compared(self, judge: PairwiseJudge, answers: Sequence[Answers], baseline: Answers) -> list[list[float]]:
        """Return the judge's scores of each variant's answers against the mixture's."""
        given = self._given
        found = [[[EVEN] * given.epochs for _ in given.questions] for _ in answers]
        others = [number for number, rows in enumerate(answers) if rows is not baseline]
        done, total = 0, len(others) * len(given.questions) * given.epochs

        async def compare(place: int, epoch: int) -> None:
            nonlocal done
            for number in others:
                pair = answers[number][place][epoch - 1], baseline[place][epoch - 1]
                try:
                    found[number][place][epoch - 1] = await judge.score(given.questions[place], epoch, *pair)
                except HaltedError:
                    return
                done += 1
                self._watch(done, total, "comparisons")

        await self._each(compare)
        return [[fmean(epochs) for epochs in rows] for rows in found]
