"""Generating answers for a harness: many questions at once, each call made once, within a limit in dollars."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_moa.batch.asker import ask_graph
from langchain_moa.batch.calls import QuestionRun, member_with_journal, reason_of, with_journal
from langchain_moa.batch.limits import CircuitBreaker
from langchain_moa.batch.pace import Paces, with_own_retries
from langchain_moa.batch.workers import ask_all
from langchain_moa.data.reference import Reference
from langchain_moa.data.rows import RowError, read_rows
from langchain_moa.data.state import MoAContext
from langchain_moa.engine.graph import build_aggregator, build_alone, build_graph
from langchain_moa.evaluation.harnesses import Answered, HarnessWithReferences
from langchain_moa.evaluation.variants import find_member

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from pathlib import Path

    from langchain_moa.batch.asker import GraphAnswer
    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.batch.calls import FailedCall
    from langchain_moa.batch.limits import Reason
    from langchain_moa.data.errors import MoAError
    from langchain_moa.evaluation.harnesses import BenchmarkQuestion, Harness
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


def read_references(
    paths: Sequence[Path], harness: Harness, questions: Sequence[BenchmarkQuestion]
) -> Mapping[Hashable, list[Reference]]:
    """Read answer files of a harness, one for each model, as references.

    Like `--reference-paths` of the paper's own code. The rows are matched by the question, not by their order.

    Args:
        paths: The files; the first one's answers are the first references.
        harness: Whose files they are.
        questions: The questions that need references.

    Returns:
        The references of each question, by its id.

    Raises:
        RowError: A file is malformed, has no answer to one of the questions, or several to one.
    """
    if not isinstance(harness, HarnessWithReferences):
        msg = f"--references: {harness.name} has several turns, and the references of a turn depend on the answer before it"
        raise RowError(msg)
    found: dict[Hashable, list[Reference]] = {question.id: [] for question in questions}
    for position, path in enumerate(paths, start=1):
        texts = _texts(path, harness)
        for question in questions:
            if question.id not in texts:
                msg = f"{path} has no answer to the question of {question.row.place}"
                raise RowError(msg)
            found[question.id].append(_reference(path.stem, position, texts[question.id]))
    return found


def _texts(path: Path, harness: HarnessWithReferences) -> dict[Hashable, str]:
    texts: dict[Hashable, str] = {}
    lines: dict[Hashable, int] = {}
    for row in read_rows(path):
        question, text = harness.reference(row)
        if (before := lines.setdefault(question, row.line)) != row.line and texts[question] != text:
            row.refuse(f"line {before} has another answer to the same question")
        texts[question] = text
    return texts


def _reference(name: str, position: int, text: str) -> Reference:
    # Paid for elsewhere: there is nothing to count.
    return Reference(
        turn="",
        layer=1,
        proposer=position,
        name=name,
        model=name,
        text=text,
        status="ok",
        error=None,
        usage=None,
        seconds=0.0,
    )


@dataclass(kw_only=True)
class GenerationResult:
    """What a run has come to so far.

    Attributes:
        answered: The questions that have their answers.
        failed: Those that have none, each with the reason.
        without: The calls that failed and that an answer did without, answer by answer.
        kept: How many of the answered ones took no call, because the journal had all.
        ended: Why it has ended early, if it has.
    """

    answered: list[Answered] = field(default_factory=list)
    failed: list[tuple[BenchmarkQuestion, str]] = field(default_factory=list)
    without: list[Sequence[FailedCall]] = field(default_factory=list)
    kept: int = 0
    ended: Reason | None = None

    @property
    def done(self) -> int:
        """How many questions have been asked."""
        return len(self.answered) + len(self.failed)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A mixture's answers to a benchmark's questions.

    Every turn of every question goes through all layers; of earlier turns only the final answers are in the history. What a
    call has answered is in the journal, so a run that was ended asks only what is missing.

    Attributes:
        harness: The benchmark's tool.
        mixture: The mixture.
        questions: The questions.
        journal: The open journal of the calls.
        model: What the mixture is called in the answers.
        references: For each question's id the references to aggregate, in place of the proposers'. Default: none.
        member: The member that answers alone, in place of the mixture: its number, name or model id, or `aggregator`. Default:
            none.
        concurrency: How many questions are under way at once. Default: 8.
        own_settings: Whether temperature and longest answer are the mixture's own. Default: they are the benchmark's.
    """

    harness: Harness
    mixture: Mixture
    questions: Sequence[BenchmarkQuestion]
    journal: CallJournal
    model: str
    references: Mapping[Hashable, list[Reference]] | None = None
    member: str | None = None
    concurrency: int = 8
    own_settings: bool = False

    async def run(self, watch: Callable[[int, int, str], object] = lambda *_: None) -> GenerationResult:
        """Ask what has not been answered yet.

        Args:
            watch: Told how many questions there are so far, how many there will be, and of what.

        Returns:
            The outcome, its answers in the order of the questions.

        Raises:
            ValueError: There is no such member.
        """
        outcome = GenerationResult()
        run = _GenerationRun(self, outcome, watch)

        def goes_on() -> bool:
            # When the money is used up, the answers that are in the journal are still read. After a signal they are not.
            return self.journal.gate.reason != "signal"

        await ask_all(self.questions, run.ask, at_once=self.concurrency, goes_on=goes_on)
        places = {id(question): place for place, question in enumerate(self.questions)}
        outcome.answered.sort(key=lambda answered: places[id(answered.question)])
        outcome.failed.sort(key=lambda failed: places[id(failed[0])])
        outcome.ended = self.journal.gate.reason
        return outcome

    def document(self, outcome: GenerationResult, *, before: Path | None = None) -> str:
        """Return the answer file's text.

        Args:
            outcome: What `run` returned.
            before: The answer file that is written again, if it exists: what the harness's scripts have added is kept.
        """
        known = _rows_before(before)
        rows = []
        for answered in outcome.answered:
            row = self.harness.answer(answered)
            rows.append(self.harness.again(row, known.get(str(row.get("uid")), {})))
        return self.harness.document(rows)


def asked(mixture: Mixture, *, member: str | None, has_references: bool) -> list[Member]:
    """Return whom a turn asks, if the aggregation asks one model and no layer ends early: one call each.

    Args:
        mixture: The mixture.
        member: The member that answers alone, if one does.
        has_references: Whether there are references in place of the proposers'.

    Raises:
        ValueError: There is no such member.
    """
    if member is not None:
        return [find_member(mixture, member)]
    members = mixture.members
    last = [members.aggregator] if mixture.aggregator is not None else []
    return last if has_references else [*(each for layer in members.layers for each in layer), *last]


def _rows_before(path: Path | None) -> dict[str, Mapping[str, Any]]:
    """Return the rows of an answer file that is written again, by id; none if it cannot be read."""
    if path is None or not path.is_file():
        return {}
    try:
        return {str(row.data["uid"]): row.data for row in read_rows(path) if "uid" in row.data}
    except RowError:
        return {}


class _GenerationRun:
    """A run that is under way."""

    def __init__(self, given: Generation, outcome: GenerationResult, watch: Callable[[int, int, str], object]) -> None:
        self._given = replace(given, mixture=with_own_retries(given.mixture))
        self._outcome = outcome
        self._watch = watch
        self._patience = CircuitBreaker(given.journal.gate, concurrency=given.concurrency)
        self._graph: Any = self._builder().compile(checkpointer=False)

    def _builder(self) -> Any:
        given, paces = self._given, Paces(gate=self._given.journal.gate)
        if given.member is not None:
            member = find_member(given.mixture, given.member)
            return build_alone(given.mixture, paces.member(member_with_journal(member, given.journal, "alone")))
        mixture = paces.paced(with_journal(given.mixture, given.journal))
        return build_graph(mixture) if given.references is None else build_aggregator(mixture)

    async def ask(self, question: BenchmarkQuestion) -> None:
        """Ask all turns of a question."""
        await self._ask_turns(question)
        self._watch(self._outcome.done, len(self._given.questions), "questions")

    async def _ask_turns(self, question: BenchmarkQuestion) -> None:
        said: list[BaseMessage] = []
        texts: list[str] = []
        # What has been said before is part of the question of a turn; its samples are those of the whole.
        run = QuestionRun.of(str(question.id), [HumanMessage(turn) for turn in question.turns])
        for turn in question.turns:
            said.append(HumanMessage(turn))
            found = await self._turn(question, run, said)
            if found.error is not None:
                self._failed(question, run, found.error)
                return
            # Without the white space around it, as in the paper's code.
            texts.append(found.text.strip())
            said.append(AIMessage(texts[-1]))
        if run.is_halted:
            return
        self._patience.count(self._given.model, None)
        self._count_proposers(run)
        self._outcome.kept += not run.made
        time = max((entry.time for entry in run.records), default=0.0)
        self._outcome.answered.append(Answered(question=question, texts=tuple(texts), model=self._given.model, time=time))

    def _failed(self, question: BenchmarkQuestion, run: QuestionRun, error: MoAError) -> None:
        if not run.is_halted:
            reason = reason_of(error)
            self._outcome.failed.append((question, reason))
            self._patience.count(self._given.model, reason)

    def _count_proposers(self, run: QuestionRun) -> None:
        """Count who of a layer has answered: without a member that is gone, the mixture would be another one."""
        for entry in run.records:
            self._patience.count(f"{entry.place} ({entry.model})", None)
        for call in run.failed.values():
            # An aggregator has fallbacks.
            if call.layer is not None:
                self._patience.count(call.who, call.reason)
        if run.failed:
            self._outcome.without.append(tuple(run.failed.values()))

    async def _turn(self, question: BenchmarkQuestion, run: QuestionRun, messages: list[BaseMessage]) -> GraphAnswer:
        """Return the final answer to the last message."""
        references = self._given.references
        merged = {} if references is None else {"merged": references[question.id]}
        settings = {"temperature": question.temperature, "max_tokens": question.max_tokens}
        context = MoAContext(model_kwargs={} if self._given.own_settings else settings)
        return await ask_graph(self._graph, run, list(messages), context=context, **merged)
