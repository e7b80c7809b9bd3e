"""What failed in a comparison, in sentences: enough to know what to mend, and whether there is a result at all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.evaluation.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_moa.evaluation.answer import Answer, Result
    from langchain_moa.evaluation.call import FailedCall
    from langchain_moa.evaluation.comparison import Findings
    from langchain_moa.evaluation.judge import Tally

TOO_MANY = 0.1
"""The share of answers, or of judgments, that may fail; with more, there is no result."""

# A judge who turns so many of its preferences with the order has chosen a place, and not an answer.
_TURNED = 0.75

_LONGEST = 200
_SHOWN = 3


class Failures(NamedTuple):
    """What failed.

    Attributes:
        notes: What to know of.
        problems: Why there is no result.
    """

    notes: Sequence[str]
    problems: Sequence[str]


def failures_of(findings: Findings) -> Failures:
    """Return what failed in a comparison.

    Args:
        findings: What it has found.
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
            "This is no result yet: mend what failed and give the same command, which asks only for what is missing."
        )
    return Failures(notes, problems)


def doing_without(failed: Sequence[Sequence[FailedCall]]) -> str:
    """Say which calls answers had to do without; nothing if there is none.

    Args:
        failed: The calls that failed, answer by answer.
    """
    if not failed:
        return ""
    reasons = [f"{call.who}, {call.reason}" for calls in failed for call in calls]
    verb = "does" if len(failed) == 1 else "do"
    return f"{counted(len(failed), 'answer')} {verb} without a call that failed: {_reasons(reasons)}"


def _failed(result: Result) -> str:
    answers = _answers(result)
    failed = [answer.error for answer in answers if answer.error is not None]
    if not failed:
        return ""
    of, count = counted(len(answers), "answer"), "counts" if len(failed) == 1 else "count"
    return f"{_capital(result.name)}: {len(failed):,} of {of} failed and {count} as wrong: {_reasons(failed)}."


def _degraded(result: Result) -> str:
    """Say which calls answers had to do without; the failure of a member alone is its answer's own."""
    sentence = doing_without([answer.failed for answer in _answers(result) if answer.error is None and answer.failed])
    return f"{_capital(result.name)}: {sentence}." if sentence else ""


def _judged(tally: Tally) -> Failures:
    who = f"The judge {tally.judge}"
    if not tally.pairs:
        return Failures([f"{who} was asked nothing: all answers were the same, or had failed."], [])
    turned, missing = tally.turned / tally.pairs, (tally.silent + tally.failed.total()) / tally.judgments
    pairs, of = counted(tally.pairs, "pair"), counted(tally.judgments, "judgment")
    notes = [
        f"{who} compared {pairs} of answers, each in both orders; for {turned:.0%} it preferred the same place both times."
    ]
    problems: list[str] = []
    lost = problems if missing > TOO_MANY else notes
    if tally.failed:
        lost.append(f"{who}: {tally.failed.total():,} of {of} failed: {_reasons(tally.failed.elements())}.")
    if tally.silent:
        count = "counts" if tally.silent == 1 else "count"
        lost.append(f"{who}: {tally.silent:,} of {of} held no verdict and {count} as a tie.")
    if turned > _TURNED:
        problems.append(f"{who} goes by the order of the answers; take another.")
    return Failures(notes, problems)


def _reasons(failed: Iterable[str]) -> str:
    found = Counter(_line(reason) for reason in failed)
    shown = [reason if times == 1 else f"{reason} ({times:,} times)" for reason, times in found.most_common(_SHOWN)]
    more = len(found) - len(shown)
    return "; ".join([*shown, *([f"and {counted(more, 'other reason')}"] if more else [])])


def _line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _answers(result: Result) -> list[Answer]:
    return [answer for epochs in result.answers for answer in epochs]


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:] if name.startswith(("the ", "after ")) else name
