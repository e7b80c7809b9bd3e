"""The summary of a comparison: the figures of each variant, the verdicts, and the failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.data.figures import counted
from langchain_moa.evaluation.significance import ENOUGH, PairedDifference, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_moa.batch.calls import FailedCall
    from langchain_moa.evaluation.comparison import ComparisonResult, VariantAnswer, VariantResult
    from langchain_moa.evaluation.judge import JudgeTally
    from langchain_moa.evaluation.variants import Kind


TOO_MANY = 0.1
"""The maximum share of failed answers, or judgments, with which there is a result."""

# The share of pairs from which a judge that prefers the same position in both orders is unusable.
_TURNED = 0.75

_LONGEST = 200
_SHOWN = 3


class FailureNotes(NamedTuple):
    """The failures of a comparison.

    Attributes:
        notes: Failures to mention.
        problems: Failures because of which there is no result.
    """

    notes: Sequence[str]
    problems: Sequence[str]


def failures_of(findings: ComparisonResult) -> FailureNotes:
    """Return the failures of a comparison.

    Args:
        findings: The results of the comparison.
    """
    notes: list[str] = []
    problems: list[str] = []
    for result in findings.results:
        if sentence := _failed(result):
            (problems if result.failed > TOO_MANY else notes).append(sentence)
        if sentence := _degraded(result):
            notes.append(sentence)
    if findings.tally is not None:
        judged = _judged(findings.tally)
        notes += judged.notes
        problems += judged.problems
    if problems:
        problems.append(
            "There is no result yet. Fix what failed and run the same command again: it makes only the missing calls."
        )
    return FailureNotes(notes, problems)


def doing_without(failed: Sequence[Sequence[FailedCall]]) -> str:
    """Return a sentence about failed calls of answered questions; empty if there are none.

    Args:
        failed: The failed calls of each answer.
    """
    if not failed:
        return ""
    reasons = [f"{call.who}, {call.reason}" for calls in failed for call in calls]
    verb = "is" if len(failed) == 1 else "are"
    return f"{counted(len(failed), 'answer')} {verb} degraded by failed calls: {_reasons(reasons)}"


def _failed(result: VariantResult) -> str:
    answers = _answers(result)
    failed = [answer.error for answer in answers if answer.error is not None]
    return failed_sentence(result.name, len(answers), failed) if failed else ""


def failed_sentence(name: str, answers: int, failed: Sequence[str]) -> str:
    """Return a sentence about failed answers and the reasons.

    Args:
        name: The name of the variant.
        answers: The number of answers, including failed ones.
        failed: The reasons of the failed answers.
    """
    of, count = counted(answers, "answer"), "counts" if len(failed) == 1 else "count"
    return f"{_capital(name)}: {len(failed):,} of {of} failed and {count} as wrong: {_reasons(failed)}."


def _degraded(result: VariantResult) -> str:
    """Return a sentence about failed calls of a variant's answered questions; empty if there are none."""
    sentence = doing_without([answer.failed for answer in _answers(result) if answer.error is None and answer.failed])
    return f"{_capital(result.name)}: {sentence}." if sentence else ""


def _judged(tally: JudgeTally) -> FailureNotes:
    who = f"The judge {tally.judge}"
    if not tally.pairs:
        return FailureNotes([f"{who} was not called: all answers were the same, or had failed."], [])
    turned, missing = tally.turned / tally.pairs, (tally.silent + tally.failed.total()) / tally.judgments
    pairs, of = counted(tally.pairs, "pair"), counted(tally.judgments, "judgment")
    notes = [
        (
            f"{who} compared {pairs} of answers, each in both orders; for {turned:.0%} it preferred the same position "
            "both times (position bias)."
        )
    ]
    problems: list[str] = []
    lost = problems if missing > TOO_MANY else notes
    if tally.failed:
        lost.append(f"{who}: {tally.failed.total():,} of {of} failed: {_reasons(tally.failed.elements())}.")
    if tally.silent:
        count = "counts" if tally.silent == 1 else "count"
        lost.append(f"{who}: {tally.silent:,} of {of} had no verdict and {count} as a tie.")
    if turned > _TURNED:
        problems.append(f"{who} prefers a position and not an answer; use another judge.")
    return FailureNotes(notes, problems)


def _reasons(failed: Iterable[str]) -> str:
    found = Counter(_line(reason) for reason in failed)
    shown = [reason if times == 1 else f"{reason} ({times:,} times)" for reason, times in found.most_common(_SHOWN)]
    more = len(found) - len(shown)
    return "; ".join([*shown, *([f"and {counted(more, 'other reason')}"] if more else [])])


def _line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _answers(result: VariantResult) -> list[VariantAnswer]:
    return [answer for epochs in result.answers for answer in epochs]


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:] if name.startswith(("the ", "after ")) else name


_SMALLEST = 0.001


def verdict(mixture: VariantFigures, other: VariantFigures) -> str:
    """Return the verdict on the mixture against another variant.

    Args:
        mixture: The mixture's figures.
        other: The other variant's figures.
    """
    who = f"its best member, {other.name.partition(' alone')[0]}," if other.kind == "member" else other.name
    for each, named in ((mixture, "the mixture's"), (other, "its")):
        if each.failed > TOO_MANY:
            return f"No verdict on the mixture and {who.rstrip(',')}: {each.failed:.0%} of {named} answers failed."
    if other.gain is None:
        return ""
    return f"{_compared(other.gain, who)}{_without_failures(other)}{_price(mixture, other)}"


def _without_failures(other: VariantFigures) -> str:
    """Return a sentence about the gain on the questions that both answered: filling gaps is not a better answer."""
    gain = other.gain_answered
    if gain is None:
        return ""
    span = f"95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    both = f"the {counted(gain.questions, 'question')} that both have answered"
    return f" On {both}, the mixture's gain is {100 * gain.mean:+.1f} ({span})."


def _compared(gain: PairedDifference, who: str) -> str:
    questions = counted(gain.questions, "question")
    if not gain.mean:
        return f"The mixture and {who} score the same on {questions}."
    points = f"{100 * abs(gain.mean):.1f} points"
    span = f"95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}, p {_p(gain.p)}"
    if gain.is_more_than_noise:
        how = "better" if gain.mean > 0 else "worse"
        return f"The mixture is {how} than {who} by {points} ({span}): more than noise."
    where = f"The mixture is {points} {'ahead of' if gain.mean > 0 else 'behind'} {who.rstrip(',')} ({span})"
    more = "" if gain.needed is None else f" If the difference is real, about {gain.needed:,} questions would show it."
    if gain.differing < ENOUGH:
        few = f"they score differently on only {gain.differing} of {questions}: fewer than {ENOUGH} are too few to tell"
        return f"{where}, but {few}.{more}"
    return f"{where}: no more than noise on {questions}.{more}"


def _p(p: float) -> str:
    return f"< {_SMALLEST}" if p < _SMALLEST else f"= {p:.3f}"


def _price(mixture: VariantFigures, other: VariantFigures) -> str:
    """Return a sentence about the mixture's cost and time relative to another variant."""
    parts = []
    if mixture.cost_usd and other.cost_usd:
        parts.append(f"{mixture.cost_usd / other.cost_usd:.1f} times the cost")
    if mixture.seconds and other.seconds:
        parts.append(f"{mixture.seconds / other.seconds:.1f} times the time")
    return f" The mixture takes {' and '.join(parts)}." if parts else ""


_HALF = 0.5
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class VariantFigures:
    """The figures of one variant.

    Attributes:
        name: The name of the variant.
        kind: The kind of variant.
        score: The mean score, from 0 to 1.
        low: The lower end of the 95% interval of the score.
        high: The upper end of the interval.
        gain: The paired difference of the mixture's score and this one; `None` for the mixture itself.
        gain_answered: The same on the questions that both answered; `None` if these are all questions or none.
        calls: The mean number of calls per answer.
        seconds: The mean duration of an answer: the slowest call of each layer, plus every call after the layers.
        cost_usd: The mean cost of an answer in US dollars, or `None` if a price is unknown.
        words: The mean number of words per answer.
        failed: The share of answers that failed.
    """

    name: str
    kind: Kind
    score: float
    low: float
    high: float
    gain: PairedDifference | None
    gain_answered: PairedDifference | None
    calls: float
    seconds: float
    cost_usd: float | None
    words: float
    failed: float


@dataclass(frozen=True, kw_only=True)
class ComparisonSummary:
    """The summary of a comparison.

    Attributes:
        figures: The figures of each variant, the mixture's first.
        questions: The number of questions.
        is_judged: Whether the scores are a judge's preferences against the mixture.
        is_graded: Whether there are scores between 0 and 1.
        all_wrong: The share of questions for which every single member scores below 0.5; `None` with a judge.
        verdicts: Sentences about whether the mixture is worth its cost.
        notes: Sentences about failures and the judge.
        problems: Sentences about why there is no result, if too much failed.
    """

    figures: Sequence[VariantFigures]
    questions: int
    is_judged: bool
    is_graded: bool
    all_wrong: float | None
    verdicts: Sequence[str]
    notes: Sequence[str]
    problems: Sequence[str]

    @classmethod
    def of(cls, findings: ComparisonResult) -> ComparisonSummary:
        """Summarize the results of a comparison.

        Args:
            findings: The results of the comparison.
        """
        results = findings.results
        figures = [_figures(result, results[0]) for result in results]
        members = [result.scores for result in results if result.kind == "member"]
        wrong = [all(score < _HALF for score in scores) for scores in zip(*members, strict=True)]
        failures = failures_of(findings)
        verdicts = [verdict(figures[0], other) for other in _rivals(results, figures)]
        if findings.tally is None and not any(score for result in results for score in result.scores):
            verdicts = [_all_zero(results[0])]
        return cls(
            figures=figures,
            questions=len(results[0].scores),
            is_judged=findings.tally is not None,
            is_graded=any(score not in (0, 1) for result in results for score in result.scores),
            all_wrong=None if findings.tally is not None or not wrong else fmean(wrong),
            verdicts=[*verdicts, *_shallower(figures)],
            notes=failures.notes,
            problems=failures.problems,
        )


def _all_zero(mixture: VariantResult) -> str:
    """Return the verdict if all scores are 0, which is probably a problem of the scorer."""
    said = next((answer.text for epochs in mixture.answers for answer in epochs if answer.text.strip()), "")
    text = " ".join(said.split())
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return (
        "Every variant scores 0 on every question. Check the scorer: does --scorer fit these questions, and do the models "
        "write their answers in the form of the right answers? The mixture's first answer: "
        f"{shown!r}"
    )


def _shallower(figures: Sequence[VariantFigures]) -> list[str]:
    """Return the advice to use fewer layers if the mixture is not better than after fewer layers."""
    mixture = figures[0]
    for each in figures:
        if (
            each.kind == "layer"
            and each.gain is not None
            and each.gain.mean <= 0
            and max(each.failed, mixture.failed) <= TOO_MANY
        ):
            layers = each.name.rpartition(" ")[2]
            if each.score == 0:
                return []
            calls = f"{each.calls:.1f} calls instead of {mixture.calls:.1f}"
            return [f"{_capital(each.name)}, the answers are as good: use num_layers={layers}, which takes {calls}."]
    return []


def _rivals(results: Sequence[VariantResult], figures: Sequence[VariantFigures]) -> list[VariantFigures]:
    """Return the rivals of the mixture: the best member, selected by cross-fitting on other questions, and Self-MoA."""
    members = [place for place, each in enumerate(figures) if each.kind == "member"]
    rivals = [each for each in figures if each.kind == "self-moa"]
    if not members:
        return rivals
    best = max(members, key=lambda place: figures[place].score)
    chosen = _cross_fitted([results[place] for place in members])
    scores = [result.scores[place] for place, result in enumerate(chosen)]
    crossed = replace(
        figures[best],
        name=_in_turn(chosen),
        gain=PairedDifference.of(results[0].scores, scores),
        gain_answered=_gain_answered(results[0], scores, chosen),
    )
    return [crossed, *rivals]


def _in_turn(chosen: Sequence[VariantResult]) -> str:
    """Return the name of the member that was chosen, or of each and for how many questions, where there are several."""
    named = Counter(each.name.partition(" alone")[0] for each in chosen).most_common()
    if len(named) == 1:
        return named[0][0]
    *others, last = (f"{name} for {number}" for name, number in named)
    return f"{', '.join(others)} and {last} of the questions"


def _cross_fitted(members: Sequence[VariantResult]) -> list[VariantResult]:
    """Return, for each question, the member with the best score on the other four fifths of the questions."""
    count = len(members[0].scores)
    if count < _FOLDS:
        return [max(members, key=lambda member: member.score)] * count

    def elsewhere(member: VariantResult, part: int) -> float:
        return sum(score for place, score in enumerate(member.scores) if place % _FOLDS != part)

    best = [max(members, key=lambda member: elsewhere(member, part)) for part in range(_FOLDS)]
    return [best[place % _FOLDS] for place in range(count)]


def _gain_answered(mixture: VariantResult, scores: Sequence[float], others: Sequence[VariantResult]) -> PairedDifference | None:
    """Return the gain on the questions that both answered, or `None` if these are all questions or none."""
    both = [
        place
        for place, other in enumerate(others)
        if all(answer.error is None for result in (mixture, other) for answer in result.answers[place])
    ]
    if len(both) in (0, len(others)):
        return None
    return PairedDifference.of([mixture.scores[place] for place in both], [scores[place] for place in both])


def _figures(result: VariantResult, mixture: VariantResult) -> VariantFigures:
    answers = [answer for epochs in result.answers for answer in epochs if answer.error is None]
    costs = [answer.cost_usd for answer in answers]
    known = [cost for cost in costs if cost is not None]
    low, high = bootstrap_interval(result.scores)
    return VariantFigures(
        name=result.name,
        kind=result.kind,
        score=result.score,
        low=low,
        high=high,
        gain=None if result is mixture else PairedDifference.of(mixture.scores, result.scores),
        gain_answered=None if result is mixture else _gain_answered(mixture, result.scores, [result] * len(result.scores)),
        calls=_mean([answer.calls for answer in answers]),
        seconds=_mean([answer.seconds for answer in answers]),
        cost_usd=fmean(known) if known and len(known) == len(costs) else None,
        words=_mean([len(answer.text.split()) for answer in answers]),
        failed=result.failed,
    )


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
