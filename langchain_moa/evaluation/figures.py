"""What a comparison says: the figures of each variant, what went wrong, and whether the mixture is worth it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_moa.evaluation.bootstrap import interval
from langchain_moa.evaluation.difference import Difference
from langchain_moa.evaluation.failures import failures_of
from langchain_moa.evaluation.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.answer import Result
    from langchain_moa.evaluation.comparison import Findings
    from langchain_moa.evaluation.variants import Kind

_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one variant.

    Attributes:
        name: What it is called.
        kind: What kind of variant it is.
        score: The mean score, from 0 to 1.
        low: The lower end of the score's 95% interval.
        high: The upper end.
        gain: How much more the mixture scores, question by question; `None` for the mixture itself.
        calls: Calls for an answer.
        seconds: Seconds for an answer: of each layer the slowest call, and every call after the layers.
        cost_usd: US dollars for an answer; `None` where a price is not known.
        words: Words of an answer.
        failed: The share of answers that failed.
    """

    name: str
    kind: Kind
    score: float
    low: float
    high: float
    gain: Difference | None
    calls: float
    seconds: float
    cost_usd: float | None
    words: float
    failed: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a comparison says.

    Attributes:
        figures: The figures of each variant, the mixture's first.
        questions: How many questions there were.
        is_judged: Whether the scores are a judge's preferences against the mixture, and not right or wrong.
        is_graded: Whether there are scores between 0 and 1.
        all_wrong: The share of questions that no member alone scores half a point on; `None` where a judge compares.
        verdicts: Sentences that say whether the mixture is worth it.
        notes: Sentences that say what has failed, and what the judge did.
        problems: Sentences that say why there is no result, where too much has failed.
    """

    figures: Sequence[Figures]
    questions: int
    is_judged: bool
    is_graded: bool
    all_wrong: float | None
    verdicts: Sequence[str]
    notes: Sequence[str]
    problems: Sequence[str]

    @classmethod
    def of(cls, findings: Findings) -> Summary:
        """Sum up what a comparison has found.

        Args:
            findings: What it has found.
        """
        results = findings.results
        figures = [_figures(result, results[0]) for result in results]
        members = [result.scores for result in results if result.kind == "member"]
        wrong = [all(score < _HALF for score in scores) for scores in zip(*members, strict=True)]
        failures = failures_of(findings)
        return cls(
            figures=figures,
            questions=len(results[0].scores),
            is_judged=findings.tally is not None,
            is_graded=any(score not in (0, 1) for result in results for score in result.scores),
            all_wrong=None if findings.tally is not None or not wrong else fmean(wrong),
            verdicts=[verdict(figures[0], other) for other in _rivals(figures)],
            notes=failures.notes,
            problems=failures.problems,
        )


def _rivals(figures: Sequence[Figures]) -> list[Figures]:
    """Return what the mixture has to beat: the member that scores best alone, and Self-MoA."""
    members = [each for each in figures if each.kind == "member"]
    best = [max(members, key=lambda each: each.score)] if members else []
    return [*best, *(each for each in figures if each.kind == "self-moa")]


def _figures(result: Result, mixture: Result) -> Figures:
    answers = [answer for epochs in result.answers for answer in epochs if answer.error is None]
    costs = [answer.cost_usd for answer in answers]
    known = [cost for cost in costs if cost is not None]
    low, high = interval(result.scores)
    return Figures(
        name=result.name,
        kind=result.kind,
        score=result.score,
        low=low,
        high=high,
        gain=None if result is mixture else Difference.of(mixture.scores, result.scores),
        calls=_mean([answer.calls for answer in answers]),
        seconds=_mean([answer.seconds for answer in answers]),
        cost_usd=fmean(known) if known and len(known) == len(costs) else None,
        words=_mean([len(answer.text.split()) for answer in answers]),
        failed=result.failed,
    )


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
