"""Ask the candidates of `langchain-moa tune`, and drop weak and expensive ones early."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from langchain_moa.batch.asker import ask_graph
from langchain_moa.batch.calls import QuestionRun, member_with_journal, reason_of
from langchain_moa.batch.limits import CircuitBreaker, EvaluationError
from langchain_moa.batch.pace import Paces, with_own_retries
from langchain_moa.batch.workers import ask_all
from langchain_moa.engine.graph import build_alone
from langchain_moa.evaluation.answer_table import AnswerTable, Sample, grade, guess_extract, short_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

# The shares of the questions after which candidates are dropped.
_ROUNDS = (0.25, 0.5)
_FEWEST = 20
# The minimum number of candidates to keep, because a majority needs three.
_KEPT = 3
# Candidates are dropped from a difference of so many standard errors, or from so many times the price.
_ERRORS = 2.0
_DEARER = 2.0


@dataclass(kw_only=True)
class Tournament:
    """Asks candidates the same questions.

    After a quarter and after half of the questions, up to half of the candidates are dropped: those that are significantly
    weaker than the best one, and those that cost more than twice as much as one with at least the same score. Three are kept.

    Attributes:
        mixture: A mixture whose proposers are the candidates. Its parameters (`temperature`, ...) apply to all of them.
        names: The names of the candidates, in the order of the proposers.
        questions: The questions.
        journal: The open journal of the calls.
        samples: How often each candidate is asked each question. Default: once.
        extract: How to extract short answers. Default: guessed from the correct answers.
        scorer: The scorer. Default: see `grade`.
        concurrency: The maximum number of concurrent questions. Default: 8.
        dropped: The reasons why candidates were dropped, by name.
        failures: The errors of failed answers, by name. Failed answers count as wrong.
    """

    mixture: Mixture
    names: Sequence[str]
    questions: Sequence[Question]
    journal: CallJournal
    samples: int = 1
    extract: str = "auto"
    scorer: Scorer | None = None
    concurrency: int = 8
    dropped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    async def run(self, watch: Callable[[int, int, str], object] = lambda *_: None) -> AnswerTable:
        """Ask the questions, and return the answers of the candidates that were not dropped.

        Args:
            watch: Called with the number of answers so far, the maximum total, and the noun "answers".

        Raises:
            StoppedError: The run ended early: the budget was used up, a candidate failed too often in a row, a signal, or a
                file that cannot be written.
            EvaluationError: The scorer failed.
        """
        extract = self.extract
        if extract == "auto":
            extract = guess_extract([answer for question in self.questions for answer in question.answers])
        asking = _Asking(self, extract, watch)
        left = dict(zip(self.names, with_own_retries(self.mixture).members.layers[0], strict=True))
        for share in (*_ROUNDS, 1.0):
            count = math.ceil(share * len(self.questions))
            await asking.ask(left, count)
            if share < 1 and count >= _FEWEST:
                for name, reason in losers(asking.answers, list(left)).items():
                    self.dropped[name] = f"{reason} after {count} questions"
                    del left[name]
        answers = {name: [asking.answers[name][place] for place in range(len(self.questions))] for name in left}
        if not any(sample.text is not None for of_model in answers.values() for each in of_model for sample in each):
            msg = "no candidate has an answer to any of the questions"
            raise EvaluationError(msg)
        return AnswerTable.of(self.questions, answers, extract=extract)


class _Asking:
    """A running tournament, with the answers so far."""

    def __init__(self, given: Tournament, extract: str, watch: Callable[[int, int, str], object]) -> None:
        self.answers: dict[str, dict[int, list[Sample]]] = {name: {} for name in given.names}
        self._given = given
        self._extract = extract
        self._watch = watch
        self._patience = CircuitBreaker(given.journal.gate, concurrency=given.concurrency)
        self._paces = Paces(gate=given.journal.gate)
        self._done = 0

    async def ask(self, members: Mapping[str, Member], count: int) -> None:
        """Ask the first `count` questions, as far as they have not been asked yet."""
        given = self._given
        graphs = {name: self._graph(member) for name, member in members.items()}
        missing = [(name, place) for place in range(count) for name in members if place not in self.answers[name]]
        total = (
            self._done
            + len(members) * (len(given.questions) * given.samples)
            - sum(len(self.answers[name]) * given.samples for name in members)
        )

        async def ask(asked: tuple[str, int]) -> None:
            name, place = asked
            found = []
            for epoch in range(1, given.samples + 1):
                if given.journal.gate.reason is not None:
                    return
                found.append(await self._sample(name, graphs[name], given.questions[place], epoch))
                self._done += 1
                self._watch(self._done, total, "answers")
            self.answers[name][place] = found

        await ask_all(missing, ask, at_once=given.concurrency, goes_on=given.journal.gate.is_open)
        given.journal.gate.require_open()

    def _graph(self, member: Member) -> Any:
        asked = self._paces.member(member_with_journal(member, self._given.journal, "candidate"))
        return build_alone(self._given.mixture, asked).compile(checkpointer=False)

    async def _sample(self, name: str, graph: Any, question: Question, epoch: int) -> Sample:
        run = QuestionRun.of(question.id, question.messages, epoch=epoch)
        found = await ask_graph(graph, run, question.messages)
        if found.error is not None:
            if not run.is_halted:
                reason = reason_of(found.error)
                self._given.failures.setdefault(name, []).append(reason)
                self._patience.count(name, reason)
            return Sample(text=None, score=0.0, short=None)
        self._patience.count(name, None)
        cost = run.records[-1].cost_usd if run.records else None
        score = grade(found.text, question, self._extract, self._given.scorer)
        return Sample(text=found.text, score=score, short=short_answer(found.text, self._extract), cost_usd=cost)


def losers(answers: Mapping[str, Mapping[int, Sequence[Sample]]], names: Sequence[str]) -> dict[str, str]:
    """Return the candidates to drop, each with the reason.

    Args:
        answers: The samples, by candidate and question; the questions are the same for all.
        names: The remaining candidates.
    """
    scores = {name: [fmean(each.score for each in found) for _, found in sorted(answers[name].items())] for name in names}
    means = {name: fmean(found) for name, found in scores.items()}
    prices = {name: _price(answers[name]) for name in names}
    order = sorted(names, key=lambda name: -means[name])
    best = order[0]
    lost: dict[str, str] = {}
    # From the weakest on, and at most half of them.
    for name in reversed(order[_KEPT:]):
        if len(lost) >= len(names) // 2:
            break
        behind = [one - other for one, other in zip(scores[best], scores[name], strict=True)]
        error = stdev(behind) / len(behind) ** 0.5
        cheaper = [other for other in order if other != name and other not in lost and _is_dearer(prices[name], prices[other])]
        if fmean(behind) > _ERRORS * error:
            lost[name] = f"{100 * fmean(behind):.1f} points behind {best}"
        elif better := next((other for other in cheaper if means[other] >= means[name]), None):
            lost[name] = f"more than twice as expensive as {better}, which is as good,"
    return lost


def _price(answers: Mapping[int, Sequence[Sample]]) -> float | None:
    costs = [each.cost_usd for found in answers.values() for each in found if each.text is not None]
    known = [cost for cost in costs if cost is not None]
    return fmean(known) if known and len(known) == len(costs) else None


def _is_dearer(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one > _DEARER * other
