"""What an evaluation has been answered."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_moa.data.errors import AggregatorFailedError, MoAError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from langchain_moa.data.reference import Failure
    from langchain_moa.evaluation.call import FailedCall, Run
    from langchain_moa.evaluation.variants import Kind


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One variant's answer to one question.

    Attributes:
        text: The answer; empty where there is none.
        error: Why there is none.
        failed: The calls that have no answer, whether or not the mixture could do without them.
        calls: How many calls it took, whether or not another variant made them, too.
        seconds: What it took by itself: of each layer the slowest call, and every call after the layers.
        cost_usd: US dollars that it took by itself; `None` where a price is not known.
    """

    text: str
    error: str | None = None
    failed: Sequence[FailedCall] = ()
    calls: int = 0
    seconds: float = 0.0
    cost_usd: float | None = None

    @classmethod
    def of(cls, text: str, run: Run, *, error: MoAError | None = None) -> Answer:
        """Return the answer that a run came to.

        Args:
            text: The answer.
            run: The run, with its calls.
            error: Why there is none.
        """
        slowest: dict[Hashable, float] = defaultdict(float)
        for number, entry in enumerate(run.entries):
            # One after the other, but for the proposers of a layer.
            stage = ("layer", entry.layer) if entry.layer is not None else number
            slowest[stage] = max(slowest[stage], entry.seconds)
        costs = [entry.cost_usd for entry in run.entries]
        known = [cost for cost in costs if cost is not None]
        return cls(
            text=text,
            error=None if error is None else reason_of(error),
            failed=tuple(run.failed.values()),
            calls=len(run.entries),
            seconds=sum(slowest.values()),
            cost_usd=sum(known) if known and len(known) == len(costs) else None,
        )


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

    @property
    def failed(self) -> float:
        """The share of answers that failed."""
        return fmean(answer.error is not None for answers in self.answers for answer in answers)


def reason_of(error: MoAError) -> str:
    """Return in a line why a mixture, or a member alone, has not answered."""
    if isinstance(error, AggregatorFailedError) and error.failures:
        return "; then ".join(map(_words, error.failures))
    failed = [reference["error"] for reference in error.references if reference["error"] is not None]
    return "; ".join(dict.fromkeys(map(_words, failed))) or str(error)


def _words(failure: Failure) -> str:
    return f"{failure['kind']}: {failure['message']}"
