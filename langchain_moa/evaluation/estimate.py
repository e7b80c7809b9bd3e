"""The estimate of a comparison's calls and cost."""

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
"""The approximate number of tokens of the instruction for references, and of a judge's instruction."""

# The number of first questions that are searched for known samples.
_LOOKED_AT = 20


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimate of a comparison.

    Attributes:
        calls: The total number of calls, without those of strategies.
        known: How many of them are in the journal.
        usd: The cost of the others in US dollars. Calls with an unknown price count as 0.
        unpriced: The models with an unknown price.
        answer_tokens: The assumed length of an answer, in tokens.
    """

    calls: int
    known: int
    usd: float
    unpriced: Sequence[str]
    answer_tokens: int


def estimate(
    mixture: Mixture, questions: Sequence[Question], journal: CallJournal, *, epochs: int = 1, judge: Member | None = None
) -> Estimate:
    """Estimate the calls and the cost of a comparison.

    Known calls are identified by the member, the question, and the members whose answers it reads: after a change of a member,
    its calls and those of the members that read its answers must be made again.

    Args:
        mixture: The mixture.
        questions: The questions.
        journal: The journal of the calls. Its mean answer length is used for the estimate.
        epochs: How often each question is asked.
        judge: The judge that compares answers, or `None`.
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
    """Expected equal calls for one question.

    Attributes:
        model: The model id.
        origin: The origin of the call site; see `CallSite`.
        reads: The number of input tokens in addition to the question.
        times: The number of calls.
    """

    model: str
    origin: str
    reads: int
    times: int = 1


class _Expectation:
    """The expected calls of a comparison for one question."""

    def __init__(self, mixture: Mixture, journal: CallJournal, *, answer: int) -> None:
        self.answer = answer
        self._mixture = mixture
        self._journal = journal
        self._alone = list(members_alone(mixture, journal, Paces()))

    def usd(self, call: _ExpectedCalls, question: int) -> float:
        return expected_usd(call.model, prompt=question + call.reads, answer=self.answer) or 0.0

    def of_mixture(self) -> list[_ExpectedCalls]:
        """Return the calls of the mixture, of the aggregator after each layer, and of the single members."""
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
        """Return the calls of Self-MoA with the best member."""
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
        """Return the calls of the judge: two for each variant except the mixture, one per order."""
        if judge is None:
            return []
        asked = judging(judge, self._mixture, self._journal)
        others = self._mixture.num_layers - 1 + len(self._alone) + 1
        return [call._replace(times=2 * others) for call in _call(asked, INSTRUCTION_TOKENS + 2 * self.answer)]

    def best(self, known: Mapping[str, Collection[str]]) -> Member:
        """Return the member whose samples are in the journal, or else the most expensive one: the best is not yet known."""
        members = [variant.member for variant in self._alone if variant.member is not None]

        def worth(member: Member) -> tuple[int, float]:
            origins = {call.origin for call in self.of_self_moa(member, 1)}
            price = expected_usd(member.id, prompt=self.answer, answer=self.answer) or 0.0
            return sum(len(origins & set(each)) for each in known.values()), price

        return max(members, key=worth)

    def _layers(self, members: Members) -> Iterator[tuple[Sequence[Member], int]]:
        """Yield each layer, and the number of tokens of references that it reads."""
        before = 0
        for number, layer in enumerate(members.layers, start=1):
            yield layer, 0 if is_blind(self._mixture.prompt, number) else before
            before = self._shown(layer)

    def _read_last(self, mixture: Mixture, members: Members) -> int:
        """Return the number of tokens of references that the aggregator reads. References of blind layers accumulate."""
        read: list[Member] = []
        for number, layer in enumerate(members.layers, start=1):
            read = [*(read if is_blind(mixture.prompt, number) else ()), *layer]
        return self._shown(read)

    def _shown(self, layer: Sequence[Member]) -> int:
        """Return the number of tokens of a layer's references with the instruction."""
        return INSTRUCTION_TOKENS + len(layer) * min(self.answer, self._mixture.max_reference_tokens or self.answer)


def _call(member: Member, reads: int) -> list[_ExpectedCalls]:
    """Return the call of a member; an empty list for the placeholder of a missing aggregator."""
    site = call_site_of(member)
    return [] if site is None else [_ExpectedCalls(site.model, site.origin, reads + tokens_in(member.spec.system_prompt or ""))]


def _answer_tokens(mixture: Mixture, journal: CallJournal) -> int:
    """Return the assumed length of an answer: the mean of known answers, or a default that `max_tokens` limits."""
    usages = [entry.answer.usage_metadata for entry in journal.records()]
    written = [usage["output_tokens"] for usage in usages if usage is not None]
    return round(fmean(written)) if written else min(mixture.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
