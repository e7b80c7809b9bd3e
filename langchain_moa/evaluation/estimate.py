"""What a comparison will cost, before it begins."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_moa.evaluation.budget import ANSWER_TOKENS, expected_usd, tokens_in

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from langchain_moa.evaluation.ledger import Ledger
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

# The instruction around the references.
_INSTRUCTION_TOKENS = 150


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a comparison will take.

    Attributes:
        calls: How many calls it takes in all, but for those of strategies.
        known: How many answers the ledger holds for these questions.
        usd: US dollars for all of them, were none known; calls whose price is not known count as nothing.
        unpriced: The models whose price is not known.
        answer_tokens: How long an answer is taken to be.
    """

    calls: int
    known: int
    usd: float
    unpriced: Sequence[str]
    answer_tokens: int

    @property
    def usd_to_go(self) -> float:
        """US dollars for the calls that are not known yet, at the mean price of a call."""
        return self.usd * max(0, self.calls - self.known) / self.calls if self.calls else 0.0


def estimate(
    mixture: Mixture, questions: Sequence[Question], ledger: Ledger, *, epochs: int = 1, judge: Member | None = None
) -> Estimate:
    """Return what a comparison will take.

    Args:
        mixture: The mixture.
        questions: The questions.
        ledger: What is known already; answers are taken to be as long as those in it.
        epochs: How often each question is asked.
        judge: Who compares answers, if somebody does.
    """
    counted = _Counted(_answer_tokens(mixture, ledger))
    asked = round(fmean(tokens_in(question.text) for question in questions))
    members = mixture.members
    aggregated = mixture.aggregator is not None
    shown = 0
    for layer in members.layers:
        for member in layer:
            counted.add(member, asked + shown)
        shown = _INSTRUCTION_TOKENS + len(layer) * counted.answer
        if aggregated:
            # After the last layer that is the mixture itself, after the others what it would have said there.
            counted.add(members.aggregator, asked + shown)
    everyone = [*members.layers[0], *([members.aggregator] if aggregated else [])]
    calls = sum(map(len, members.layers)) + aggregated
    if aggregated and members.aggregator.id not in {member.id for member in members.layers[0]}:
        counted.add(members.aggregator, asked)
    # Which member is the best is not known yet: the dearest would cost most.
    dearest = max(everyone, key=lambda member: expected_usd(member.id, prompt=asked, answer=counted.answer) or 0.0)
    counted.add(dearest, asked, times=max(1, calls - 1))
    counted.add(dearest, asked + _INSTRUCTION_TOKENS + (calls - 1) * counted.answer)
    if judge is not None:
        variants = mixture.num_layers + len(everyone)
        counted.add(judge, _INSTRUCTION_TOKENS + asked + 2 * counted.answer, times=2 * variants)
    times = len(questions) * epochs
    ids = {question.id for question in questions}
    return Estimate(
        calls=counted.calls * times,
        known=_known(ledger, ids, epochs),
        usd=counted.usd * times,
        unpriced=sorted(counted.unpriced),
        answer_tokens=counted.answer,
    )


class _Counted:
    """Calls and their price, for one question."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.calls = 0
        self.usd = 0.0
        self.unpriced: set[str] = set()

    def add(self, member: Member, prompt: int, *, times: int = 1) -> None:
        self.calls += times
        price = expected_usd(member.id, prompt=prompt, answer=self.answer)
        if price is None:
            self.unpriced.add(member.id)
        self.usd += times * (price or 0.0)


def _answer_tokens(mixture: Mixture, ledger: Ledger) -> int:
    """Return how long an answer is taken to be: as those that are known, or as `max_tokens` allows."""
    usages = [entry.answer.usage_metadata for entry in ledger.entries.values()]
    written = [usage["output_tokens"] for usage in usages if usage is not None]
    return round(fmean(written)) if written else min(mixture.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)


def _known(ledger: Ledger, ids: Collection[str], epochs: int) -> int:
    of_question: defaultdict[str, int] = defaultdict(int)
    for entry in ledger.entries.values():
        if entry.question in ids and entry.epoch <= epochs:
            of_question[entry.question] += 1
    return sum(of_question.values())
