"""What a comparison will cost, before it begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.batch.calls import about, call_site_of, with_journal
from langchain_moa.batch.limits import ANSWER_TOKENS, callable_members, expected_usd, tokens_in, unpriced
from langchain_moa.batch.pace import Paces
from langchain_moa.evaluation.judge import judging
from langchain_moa.evaluation.variants import SELF_MOA, members_alone, samples_of_best, shortened
from langchain_moa.prompting.prompts import is_blind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.lineup import Members
    from langchain_moa.mixture.mixture import Mixture

INSTRUCTION_TOKENS = 130
"""Tokens of the instruction around references, and of a judge's: the paper's has about as many."""

# Whose samples are known can be seen by the first questions.
_LOOKED_AT = 20


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a comparison will take.

    Attributes:
        calls: How many calls it takes in all, but for those of strategies.
        known: How many of them the journal answers.
        usd: US dollars for the others; calls whose price is not known count as nothing.
        unpriced: The models whose price is not known.
        answer_tokens: How long an answer is taken to be.
    """

    calls: int
    known: int
    usd: float
    unpriced: Sequence[str]
    answer_tokens: int


def estimate(
    mixture: Mixture, questions: Sequence[Question], journal: CallJournal, *, epochs: int = 1, judge: Member | None = None
) -> Estimate:
    """Return what a comparison will take.

    Calls are known by what is asked of whom, and by what that one reads: after a change of a member, its own calls are to be
    made again, and those of the models that read its answers.

    Args:
        mixture: The mixture.
        questions: The questions.
        journal: What is known already; answers are taken to be as long as those in it.
        epochs: How often each question is asked.
        judge: Who compares answers, if there is a judge.
    """
    known = Counter((entry.about, entry.epoch, entry.origin) for entry in journal.records())
    asked = [(about(question.messages), tokens_in(question.text) + tokens_in(question.system or "")) for question in questions]
    expected = _Expectation(mixture, journal, answer=_answer_tokens(mixture, journal))
    best = expected.best({said: {origin for about, _, origin in known if about == said} for said, _ in asked[:_LOOKED_AT]})
    calls, found, usd = 0, 0, 0.0
    for epoch in range(1, epochs + 1):
        for call in [*expected.of_mixture(), *expected.of_self_moa(best, epoch), *expected.of_judge(judge)]:
            for said, tokens in asked:
                have = min(call.times, known[said, epoch, call.origin])
                calls, found = calls + call.times, found + have
                usd += (call.times - have) * expected.usd(call, tokens)
    return Estimate(
        calls=calls,
        known=found,
        usd=usd,
        unpriced=unpriced([*callable_members(mixture), *([judge] if judge is not None else [])]),
        answer_tokens=expected.answer,
    )


class _ExpectedCalls(NamedTuple):
    """Calls that are expected for one question.

    Attributes:
        model: Who is asked.
        origin: What bears on them.
        reads: Tokens that they read beside the question.
        times: How many they are.
    """

    model: str
    origin: str
    reads: int
    times: int = 1


class _Expectation:
    """The calls that a comparison is expected to take for one question."""

    def __init__(self, mixture: Mixture, journal: CallJournal, *, answer: int) -> None:
        self.answer = answer
        self._mixture = mixture
        self._journal = journal
        self._alone = list(members_alone(mixture, journal, Paces()))

    def usd(self, call: _ExpectedCalls, question: int) -> float:
        return expected_usd(call.model, prompt=question + call.reads, answer=self.answer) or 0.0

    def of_mixture(self) -> list[_ExpectedCalls]:
        """Return the calls of the mixture, of the aggregator after each layer, and of members alone."""
        kept = with_journal(self._mixture, self._journal).members
        calls = [call for layer, before in self._layers(kept) for member in layer for call in _call(member, before)]
        calls += _call(kept.aggregator, self._read_last(self._mixture, kept))
        for shorter in shortened(self._mixture):
            kept = with_journal(shorter, self._journal).members
            calls += _call(kept.aggregator, self._read_last(shorter, kept))
        alone = [call for variant in self._alone if variant.asked is not None for call in _call(variant.asked, 0)]
        mine = {call.origin for call in calls}
        return [*calls, *(call for call in alone if call.origin not in mine)]

    def of_self_moa(self, best: Member, epoch: int) -> list[_ExpectedCalls]:
        """Return the calls of the best member, asked as often as the mixture asks all."""
        members = self._mixture.members
        calls = sum(map(len, members.layers)) + (self._mixture.aggregator is not None)
        samples = samples_of_best(self._mixture, best, calls=calls, epoch=epoch)
        if samples is None:
            return []
        kept = with_journal(samples, self._journal, prefix=SELF_MOA).members
        return [
            *(call for member in kept.layers[0] for call in _call(member, 0)),
            *_call(kept.aggregator, self._shown(kept.layers[-1])),
        ]

    def of_judge(self, judge: Member | None) -> list[_ExpectedCalls]:
        """Return the calls of the judge: each variant but the mixture in both orders."""
        if judge is None:
            return []
        asked = judging(judge, self._mixture, self._journal)
        others = self._mixture.num_layers - 1 + len(self._alone) + 1
        return [call._replace(times=2 * others) for call in _call(asked, INSTRUCTION_TOKENS + 2 * self.answer)]

    def best(self, known: Mapping[str, Collection[str]]) -> Member:
        """Return whose samples are known already, or else the dearest member: which is the best is not known yet."""
        members = [variant.member for variant in self._alone if variant.member is not None]

        def worth(member: Member) -> tuple[int, float]:
            origins = {call.origin for call in self.of_self_moa(member, 1)}
            price = expected_usd(member.id, prompt=self.answer, answer=self.answer) or 0.0
            return sum(len(origins & set(each)) for each in known.values()), price

        return max(members, key=worth)

    def _layers(self, members: Members) -> Iterator[tuple[Sequence[Member], int]]:
        """Yield each layer, and how many tokens of references it reads."""
        before = 0
        for number, layer in enumerate(members.layers, start=1):
            yield layer, 0 if is_blind(self._mixture.prompt, number) else before
            before = self._shown(layer)

    def _read_last(self, mixture: Mixture, members: Members) -> int:
        """Return how many tokens of references the aggregator reads: a blind layer's come on top of those before it."""
        read: list[Member] = []
        for number, layer in enumerate(members.layers, start=1):
            read = [*(read if is_blind(mixture.prompt, number) else ()), *layer]
        return self._shown(read)

    def _shown(self, layer: Sequence[Member]) -> int:
        """Return how many tokens there are to read after a layer."""
        return INSTRUCTION_TOKENS + len(layer) * min(self.answer, self._mixture.max_reference_tokens or self.answer)


def _call(member: Member, reads: int) -> list[_ExpectedCalls]:
    """Return the call of a member; none where there is no member."""
    site = call_site_of(member)
    return [] if site is None else [_ExpectedCalls(site.model, site.origin, reads + tokens_in(member.spec.system_prompt or ""))]


def _answer_tokens(mixture: Mixture, journal: CallJournal) -> int:
    """Return how long an answer is taken to be: as those that are known, or as `max_tokens` allows."""
    usages = [entry.answer.usage_metadata for entry in journal.records()]
    written = [usage["output_tokens"] for usage in usages if usage is not None]
    return round(fmean(written)) if written else min(mixture.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
