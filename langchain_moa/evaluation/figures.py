"""What a comparison says: the figures of each variant, and whether a difference is more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_moa.evaluation.bootstrap import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.comparison import Result
    from langchain_moa.evaluation.variants import Kind


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one variant.

    Attributes:
        name: What it is called.
        kind: What kind of variant it is.
        score: The mean score, from 0 to 1.
        low: The lower end of the score's 95% interval.
        high: The upper end.
        gain: How much more the mixture scores; `None` for the mixture itself.
        gain_low: The lower end of the gain's 95% interval, paired by question.
        gain_high: The upper end.
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
    gain: float | None
    gain_low: float
    gain_high: float
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
        all_wrong: The share of questions that no member alone scores half a point on; `None` where a judge compares.
        verdicts: Sentences that say whether the mixture is worth it.
    """

    figures: Sequence[Figures]
    questions: int
    all_wrong: float | None
    verdicts: Sequence[str]

    @classmethod
    def of(cls, results: Sequence[Result], *, judged: bool = False) -> Summary:
        """Sum up results.

        Args:
            results: The results, the mixture's first.
            judged: Whether the scores are a judge's preferences against the mixture, and not right or wrong.
        """
        figures = [_figures(result, results[0]) for result in results]
        members = [result for result in results if result.kind == "member"]
        by_question = zip(*(member.scores for member in members), strict=True)
        wrong = [all(score < _HALF for score in scores) for scores in by_question]
        return cls(
            figures=figures,
            questions=len(results[0].scores),
            all_wrong=None if judged or not wrong else fmean(wrong),
            verdicts=[_verdict(figures[0], other, len(results[0].scores)) for other in _rivals(figures)],
        )


_HALF = 0.5

# Of a sample, an interval is as wide as one by the square root of its size.
_AT_LEAST = 0.005


def best_member(figures: Sequence[Figures]) -> Figures | None:
    """Return the member that scores best alone, `None` where there is none."""
    return max((each for each in figures if each.kind == "member"), key=lambda each: each.score, default=None)


def _rivals(figures: Sequence[Figures]) -> list[Figures]:
    best = best_member(figures)
    return [*([best] if best else []), *(each for each in figures if each.kind == "self-moa")]


def _figures(result: Result, mixture: Result) -> Figures:
    answers = [answer for epochs in result.answers for answer in epochs]
    answered = [answer for answer in answers if answer.error is None]
    costs = [answer.cost_usd for answer in answered]
    known = [cost for cost in costs if cost is not None]
    low, high = interval(result.scores)
    gains = [ours - theirs for ours, theirs in zip(mixture.scores, result.scores, strict=True)]
    gain_low, gain_high = interval(gains)
    return Figures(
        name=result.name,
        kind=result.kind,
        score=result.score,
        low=low,
        high=high,
        gain=None if result is mixture else fmean(gains),
        gain_low=gain_low,
        gain_high=gain_high,
        calls=_mean([answer.calls for answer in answered]),
        seconds=_mean([answer.seconds for answer in answered]),
        cost_usd=fmean(known) if known and len(known) == len(costs) else None,
        words=_mean([len(answer.text.split()) for answer in answered]),
        failed=1 - len(answered) / len(answers),
    )


def _verdict(mixture: Figures, other: Figures, questions: int) -> str:
    """Say how the mixture does against another variant, and whether that is more than noise."""
    gain = other.gain or 0.0
    who = f"its best member, {other.name.removesuffix(' alone')}," if other.kind == "member" else other.name
    span = f"95% interval {100 * other.gain_low:+.1f} to {100 * other.gain_high:+.1f}"
    price = _price(mixture, other)
    if other.gain_low > 0 or other.gain_high < 0:
        how = "better" if gain > 0 else "worse"
        return f"The mixture is {how} than {who} by {100 * abs(gain):.1f} points ({span}): more than noise.{price}"
    half = (other.gain_high - other.gain_low) / 2
    needed = math.ceil(questions * (half / abs(gain)) ** 2) if abs(gain) >= _AT_LEAST else None
    more = f"; if the difference is real, about {needed:,} questions would show it" if needed else ""
    return (
        f"The mixture and {other.name.removesuffix(' alone')} differ by {100 * gain:+.1f} points ({span}): "
        f"no more than noise on {questions} questions{more}.{price}"
    )


def _price(mixture: Figures, other: Figures) -> str:
    """Say what the mixture takes in comparison."""
    parts = []
    if mixture.cost_usd and other.cost_usd:
        parts.append(f"{mixture.cost_usd / other.cost_usd:.1f} times the cost")
    if mixture.seconds and other.seconds:
        parts.append(f"{mixture.seconds / other.seconds:.1f} times the time")
    return f" It takes {' and '.join(parts)}." if parts else ""


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
