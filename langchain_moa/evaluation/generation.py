"""Generate the answers to a benchmark's questions, with a journal and a spending limit."""

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
    """Read answer files of a harness, one per model, as references.

    This corresponds to `--reference-paths` in the code of the paper. Rows are matched by question, not by order.

    Args:
        paths: The files, in the order of the references.
        harness: The harness of the files.
        questions: The questions that need references.

    Returns:
        The references by question id.

    Raises:
        RowError: A file is invalid, has no answer to one of the questions, or different answers to one.
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
    # No usage, because the call was paid for in another run.
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
    """The result of a run.

    Attributes:
        answered: The answered questions.
        failed: The failed questions, each with the reason.
        without: For each answer that lacks members, its failed calls.
        kept: The number of answered questions that needed no new call, because the journal had all of them.
        ended: The reason why the run ended early, or `None`.
    """

    answered: list[Answered] = field(default_factory=list)
    failed: list[tuple[BenchmarkQuestion, str]] = field(default_factory=list)
    without: list[Sequence[FailedCall]] = field(default_factory=list)
    kept: int = 0
    ended: Reason | None = None

    @property
    def done(self) -> int:
        """The number of questions processed so far."""
        return len(self.answered) + len(self.failed)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Generates a mixture's answers to the questions of a benchmark.

    Every turn of a question passes all layers; the history has only the final answers of earlier turns. Calls are recorded in
    the journal, so that a run can be resumed.

    Attributes:
        harness: The harness of the benchmark.
        mixture: The mixture.
        questions: The questions.
        journal: The open journal of the calls.
        model: The name of the mixture in the answer file.
        references: References to aggregate instead of those of the proposers, by question id. Default: none.
        member: A member that answers instead of the mixture: its number, name or model id, or `aggregator`. Default: the
            mixture answers.
        concurrency: The maximum number of concurrent questions. Default: 8.
        own_settings: Whether to use the mixture's own temperature and `max_tokens`. Default: those of the benchmark.
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
        """Make all calls that are not in the journal, and return the answers.

        Args:
            watch: Called with the number of questions so far, the total, and the noun "questions".

        Returns:
            The result, with answers in the order of the questions.

        Raises:
            ValueError: The member does not exist.
        """
        outcome = GenerationResult()
        run = _GenerationRun(self, outcome, watch)

        def goes_on() -> bool:
            # Continue with questions whose answers are in the journal, unless a signal ended the run.
            return self.journal.gate.reason != "signal"

        await ask_all(self.questions, run.ask, at_once=self.concurrency, goes_on=goes_on)
        places = {id(question): place for place, question in enumerate(self.questions)}
        outcome.answered.sort(key=lambda answered: places[id(answered.question)])
        outcome.failed.sort(key=lambda failed: places[id(failed[0])])
        outcome.ended = self.journal.gate.reason
        return outcome

    def document(self, outcome: GenerationResult, *, before: Path | None = None) -> str:
        """Return the content of the answer file.

        Args:
            outcome: The result of `run`.
            before: The answer file to overwrite. Data that scripts of the harness added to it are kept.
        """
        known = _rows_before(before)
        rows = []
        for answered in outcome.answered:
            row = self.harness.answer(answered)
            rows.append(self.harness.again(row, known.get(str(row.get("uid")), {})))
        return self.harness.document(rows)


def asked(mixture: Mixture, *, member: str | None, has_references: bool) -> list[Member]:
    """Return the members that one turn calls, once each, assuming that no layer ends early.

    Args:
        mixture: The mixture.
        member: The member that answers instead of the mixture, or `None`.
        has_references: Whether given references replace the proposers.

    Raises:
        ValueError: The member does not exist.
    """
    if member is not None:
        return [find_member(mixture, member)]
    members = mixture.members
    last = [members.aggregator] if mixture.aggregator is not None else []
    return last if has_references else [*(each for layer in members.layers for each in layer), *last]


def _rows_before(path: Path | None) -> dict[str, Mapping[str, Any]]:
    """Return the rows of an existing answer file by id, or an empty mapping if it cannot be read."""
    if path is None or not path.is_file():
        return {}
    try:
        return {str(row.data["uid"]): row.data for row in read_rows(path) if "uid" in row.data}
    except RowError:
        return {}


class _GenerationRun:
    """A running generation."""

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
        """Process all turns of a question."""
        await self._ask_turns(question)
        self._watch(self._outcome.done, len(self._given.questions), "questions")

    async def _ask_turns(self, question: BenchmarkQuestion) -> None:
        said: list[BaseMessage] = []
        texts: list[str] = []
        # One run for all turns, so that identical calls of different turns count as repetitions.
        run = QuestionRun.of(str(question.id), [HumanMessage(turn) for turn in question.turns])
        for turn in question.turns:
            said.append(HumanMessage(turn))
            found = await self._turn(question, run, said)
            if found.error is not None:
                self._failed(question, run, found.error)
                return
            # Strip whitespace, as the code of the paper does.
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
        """Count the answers and failures of proposers: without a failing member, the mixture would be a different one."""
        for entry in run.records:
            self._patience.count(f"{entry.place} ({entry.model})", None)
        for call in run.failed.values():
            # Failures of an aggregator are not counted, because it has fallbacks.
            if call.layer is not None:
                self._patience.count(call.who, call.reason)
        if run.failed:
            self._outcome.without.append(tuple(run.failed.values()))

    async def _turn(self, question: BenchmarkQuestion, run: QuestionRun, messages: list[BaseMessage]) -> GraphAnswer:
        """Return the final answer of a turn."""
        references = self._given.references
        merged = {} if references is None else {"merged": references[question.id]}
        settings = {"temperature": question.temperature, "max_tokens": question.max_tokens}
        context = MoAContext(model_kwargs={} if self._given.own_settings else settings)
        return await ask_graph(self._graph, run, list(messages), context=context, **merged)
