"""A batch that is under way: a bounded number of rows at once, each row once, and no call that was paid for made again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from langchain_moa.batch.calls import QuestionRun, belonging_to, fingerprint, reason_of, with_ledger
from langchain_moa.batch.half_price import ROUND, HalfPrice, without_limits
from langchain_moa.batch.job_desk import JobDesk
from langchain_moa.batch.journal import Journal
from langchain_moa.batch.limits import BatchError, CircuitBreaker, HaltedError, callable_members, tokens_in, unpriced
from langchain_moa.batch.output import Output, with_columns
from langchain_moa.batch.pace import Paces
from langchain_moa.batch.rows import BatchRow, RowReader, rows_in, rows_of
from langchain_moa.data.answer import reference_text
from langchain_moa.data.errors import MoAError
from langchain_moa.data.redaction import describe
from langchain_moa.data.rows import RowError
from langchain_moa.engine.graph import build_graph

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence

    from langchain_moa.data.reference import Reference
    from langchain_moa.data.rows import Row
    from langchain_moa.mixture.mixture import Mixture

# The graph's own shape bounds its steps.
_NO_LIMIT = 10_000

# Seconds between two times that what was written is made to outlive a power failure.
_BETWEEN_SYNCS = 1.0

# Rows that are passed over between two looks at what else is to be done.
_BETWEEN_LOOKS = 200

_logger = logging.getLogger("langchain_moa")


@dataclass(frozen=True, kw_only=True)
class BatchAnswer:
    """The answer to one row.

    Attributes:
        id: The row's `id`, or the number of its line.
        columns: The row's columns, without its `id`.
        answer: The answer; `None` if there is none.
        error: Why there is none, without secrets; `None` if there is one.
        cost_usd: US dollars of all its calls, those of earlier runs included; `None` where a price is not known.
        tokens: Tokens of all its calls: `input_tokens`, `output_tokens` and `total_tokens`; `None` where nobody counted them.
        degraded: What the answer lacks, in words: a proposer that failed, for example. Usually empty.
        references: The proposers' answers, by layer and proposer.

    Example:
        ```python
        import asyncio

        from langchain_moa import BatchAnswer, Mixture, batch_answers


        async def failed(rows: list[str]) -> list[BatchAnswer]:
            answers = batch_answers(Mixture.from_preset("local"), rows)
            return [answer async for answer in answers if answer.error is not None]


        print(asyncio.run(failed(["Why is the sky blue?"])))
        ```
    """

    id: str | int
    columns: Mapping[str, Any] = field(default_factory=dict)
    answer: str | None
    error: str | None
    cost_usd: float | None = None
    tokens: Mapping[str, int] | None = None
    degraded: Sequence[str] = ()
    references: Sequence[Mapping[str, Any]] = ()

    def line(self, *, references: bool) -> dict[str, Any]:
        """Return it as a line of the output.

        Args:
            references: Whether the references are in it.
        """
        own = {
            "id": self.id,
            "answer": self.answer,
            "error": self.error,
            "cost_usd": self.cost_usd,
            "tokens": None if self.tokens is None else dict(self.tokens),
            "degraded": list(self.degraded),
            **({"references": list(self.references)} if references else {}),
        }
        return with_columns(self.columns, own)


@dataclass(kw_only=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        total: How many rows the input has; `None` where that is not known before its end.
        kept: How many of them earlier runs have answered, or could not.
        kept_failed: How many of those have failed.
        answered: How many this run has answered.
        failed: How many it could not.
        degraded: How many of its answers lack something.
        began: When it began, on the clock of `time.monotonic`.
        prompt_tokens: About how many tokens the rows have that are left.
    """

    total: int | None = None
    kept: int = 0
    kept_failed: int = 0
    answered: int = 0
    failed: int = 0
    degraded: int = 0
    began: float = field(default_factory=monotonic)
    prompt_tokens: int = 0

    @property
    def done(self) -> int:
        """How many rows this run has asked."""
        return self.answered + self.failed

    @property
    def rate(self) -> float:
        """How many rows a second it has asked."""
        return self.done / max(monotonic() - self.began, 1e-9)

    @property
    def left(self) -> int | None:
        """How many rows are still to be asked; `None` where that is not known."""
        return None if self.total is None else self.total - self.kept - self.done


class BatchRun:
    """A batch that is under way. Use it as a context manager; `answers` can be read once.

    Attributes:
        mixture: Who answers.
        reader: Makes what can be asked of the rows.
        concurrency: How many rows are under way at once.
        with_references: Whether the output has the references.
        journal: The journal, with the gate and the budget.
        output: The output; `None` if there is none.
        progress: How far it is.
        paces: How many calls of each provider run at once.
        desk: The calls that wait for batch jobs; `None` if all are made directly.
        at_once: How many rows are under way at once.
    """

    def __init__(
        self,
        mixture: Mixture,
        rows: str | Path | Iterable[Any] | AsyncIterable[Any],
        *,
        output: str | Path | None = None,
        prompt_field: str | None = None,
        system: str | None = None,
        concurrency: int = 8,
        max_cost_usd: float | None = None,
        retry_failed: bool = False,
        ordered: bool = False,
        references: bool = False,
        half_price: bool = False,
        poll: float = 30.0,
        round_size: int = ROUND,
    ) -> None:
        """Open the journal and the output; see `batch_answers` for the arguments and the errors."""
        if concurrency < 1:
            msg = f"concurrency is {concurrency}; give 1 or more"
            raise ValueError(msg)
        if (ordered or retry_failed) and output is None:
            msg = f"{'ordered' if ordered else 'retry_failed'} is about the output file; give an output"
            raise ValueError(msg)
        if max_cost_usd is not None and (unknown := unpriced(callable_members(mixture))):
            msg = f"max_cost_usd cannot be kept: the price of {', '.join(unknown)} is not known"
            raise ValueError(msg)
        if half_price:
            mixture = without_limits(mixture)
            if max_cost_usd is not None and mixture.max_tokens is None:
                msg = "max_cost_usd with half_price needs max_tokens: all calls of a job are reserved before one is answered"
                raise ValueError(msg)
        if poll <= 0:
            msg = f"poll is {poll:g}; give seconds, more than 0"
            raise ValueError(msg)
        self.progress = BatchProgress()
        self.paces = Paces()
        self.mixture = mixture
        self._rows = rows
        self.reader = RowReader(prompt_field=prompt_field, system=system)
        self.concurrency = concurrency
        self._ordered = ordered
        self.with_references = references
        self._path = path = None if output is None else Path(output)
        if path is not None and isinstance(rows, str | Path) and path.absolute() == Path(rows).absolute():
            msg = f"{path} is the input; give another --output"
            raise BatchError(msg)
        self.at_once = round_size if half_price else concurrency
        self.journal = Journal(None if path is None else journal_of(path), max_cost_usd=max_cost_usd)
        self.output: Output | None = None
        self.desk = JobDesk(self.journal, poll=poll) if half_price else None
        try:
            if path is not None:
                self._open(path, retry_failed=retry_failed)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, *, retry_failed: bool) -> None:
        refusal = (
            f"{path} was begun by another mixture; give another --output, or remove {journal_of(path)} if the answers of both "
            "belong into one file"
        )
        self.journal.require("mixture", fingerprint(self.mixture, self.journal), refusal)
        self.output = Output(path, self.journal, self.reader)
        if retry_failed:
            self.output.drop_failed()
        self.journal.count_spent(self.output.spent_usd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what could not be written before, if it can be written now, and let other runs have the output."""
        if self.output is not None:
            self.output.close()
        self.journal.close()

    @property
    def unsaved(self) -> int:
        """How many calls and answers are only in memory, because a file could not be written."""
        return len(self.journal.unsaved) + (0 if self.output is None else self.output.unsaved)

    def save(self) -> bool:
        """Try again to write what could not be written, and return whether all is in the files."""
        return self.journal.save() and (self.output is None or self.output.save())

    def check(self) -> None:
        """Read the input file once, before anything is paid for, and count its rows. Other inputs cannot be read twice.

        Raises:
            RowError: A row cannot be asked, or its id stands there twice, or was answered for another prompt.
        """
        if not isinstance(self._rows, str | Path):
            return
        total = kept = failed = tokens = 0
        for row in rows_in(Path(self._rows)):
            total += 1
            found = self.reader.read(row)
            if (line := self._known(row, found)) is None:
                tokens += sum(tokens_in(message.text) for message in found.messages)
            else:
                kept += 1
                failed += line
        if not total:
            msg = f"{self._rows} holds no rows"
            raise RowError(msg)
        self.journal.forget_seen()
        self.progress.total, self.progress.prompt_tokens = total, tokens
        self.progress.kept, self.progress.kept_failed = kept, failed

    def _known(self, row: Row, found: BatchRow) -> bool | None:
        """Return whether a row has failed before; `None` if it has no line in the output."""
        id_ = str(found.id)
        if (before := self.journal.see(id_, row.line)) is not None:
            row.refuse(f"the id {id_!r} stands in line {before}, too; each row needs its own")
        line = self.journal.line_of(id_)
        if line is None:
            return None
        if line.about and line.about != found.about:
            row.refuse(
                f"the id {id_!r} has an answer in {self._path} already, to another prompt; give the rows ids that stay, or "
                "another --output"
            )
        return bool(line.failed)

    async def answers(self) -> AsyncGenerator[BatchAnswer]:
        """Ask the rows that have no line in the output, and yield their answers as they come.

        Raises:
            RowError: The input cannot be read any further.
            OSError: With `ordered`, the output could not be written again in the order of the input.
        """
        self.progress.began = monotonic()
        found: asyncio.Queue[BatchAnswer | None] = asyncio.Queue()
        ending = asyncio.Event()
        async with aclosing(self._waiting()) as waiting:
            work = _Work(self, waiting, found)
            tasks = [asyncio.create_task(work.run()) for _ in range(self.at_once)]
            desk = [] if self.desk is None else [asyncio.create_task(self.desk.run())]
            syncing = asyncio.create_task(self._sync(ending))
            try:
                running = len(tasks)
                while running:
                    if (answer := await found.get()) is None:
                        running -= 1
                    else:
                        yield answer
                        work.room.release()
            finally:
                ending.set()
                for task in (*tasks, *desk):
                    task.cancel()
                ended = await asyncio.gather(*tasks, *desk, syncing, return_exceptions=True)
            for each in ended:
                if isinstance(each, Exception):
                    raise each
        if self._ordered and self.output is not None and self.journal.gate.reason is None:
            self.output.rewrite(self.journal.lines_in_order())

    def halt(self) -> None:
        """End early: no further call begins, and calls that wait for a batch job are left to the next run, which finds it."""
        self.journal.gate.close("signal", "the run was ended")
        if self.desk is not None:
            self.desk.halt(HaltedError(self.journal.gate.why))

    async def _waiting(self) -> AsyncGenerator[tuple[Row, BatchRow | None]]:
        """Yield the rows that have no line in the output; `None` beside one that cannot be asked."""
        kept = failed = passed = 0
        async for row in rows_of(self._rows):
            try:
                found = self.reader.read(row)
            except RowError:
                # A file was checked before.
                yield row, None
                continue
            known = self._known(row, found)
            if known is None:
                yield row, found
                continue
            kept, failed, passed = kept + 1, failed + known, passed + 1
            self.progress.kept, self.progress.kept_failed = (
                max(self.progress.kept, kept),
                max(self.progress.kept_failed, failed),
            )
            if not passed % _BETWEEN_LOOKS:
                await asyncio.sleep(0)

    async def _sync(self, ending: asyncio.Event) -> None:
        """Have what was written outlive a power failure, every second until the end."""
        while self.output is not None and not ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), _BETWEEN_SYNCS)
            rows = self.output.unsynced()
            try:
                await asyncio.to_thread(self.output.sync)
            except OSError as error:
                self.journal.gate.close("write", f"{self._path} cannot be written ({error.strerror}): no further call is made")
                return
            self.output.remove_calls(rows)
            self.journal.sync()


class _Work:
    """What the tasks of a run do: take a row, ask it, write its line."""

    def __init__(self, run: BatchRun, waiting: AsyncIterator[Any], found: asyncio.Queue[BatchAnswer | None]) -> None:
        self._run = run
        self._waiting = waiting
        self._found = found
        self._taking = asyncio.Lock()
        # Answers that are not read yet do not pile up.
        self.room = asyncio.Semaphore(run.at_once)
        # Only rows that begin together share their jobs.
        self._round = _Round() if run.desk is not None else None
        self._is_over = False
        mixture, journal = run.mixture, run.journal
        self._secrets = mixture.secrets
        half_price = None if run.desk is None else HalfPrice(run.desk, concurrency=run.concurrency)
        called = run.paces.paced(mixture) if half_price is None else half_price.applied(mixture)
        self._graph: Any = build_graph(with_ledger(called, journal)).compile(checkpointer=False)
        self._patience = CircuitBreaker(journal.gate, concurrency=run.at_once)

    async def run(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                row, found = taken
                if self._round is not None:
                    self._round.begin()
                answer = await self._ask(found) if found is not None else _refused(row, self._run.reader)
                if answer is not None:
                    self._write(answer, "" if found is None else found.about)
                    await self.room.acquire()
                    self._found.put_nowait(answer)
                if self._round is not None:
                    await self._round.end()
        finally:
            self._found.put_nowait(None)

    async def _take(self) -> tuple[Row, BatchRow | None] | None:
        async with self._taking:
            if self._is_over or self._run.journal.gate.reason is not None:
                return None
            try:
                taken: tuple[Row, BatchRow | None] = await anext(self._waiting)
            except StopAsyncIteration:
                self._is_over = True
                return None
            except BaseException:
                self._is_over = True
                raise
            return taken

    async def _ask(self, row: BatchRow) -> BatchAnswer | None:
        """Return a row's answer; `None` if the run is to end before it is complete."""
        with belonging_to(QuestionRun.of(str(row.id), row.messages)) as run:
            references: Sequence[Reference] = ()
            text = reason = None
            degraded: Sequence[str] = ()
            try:
                state = await self._graph.ainvoke({"messages": row.messages}, {"recursion_limit": _NO_LIMIT})
                message = state["messages"][-1]
                text = reference_text(message).strip()
                degraded = message.response_metadata.get("moa", {}).get("degraded", ())
                references = state.get("references", ())
            except MoAError as error:
                reason, references = reason_of(error), error.references
            except Exception as error:  # noqa: BLE001  # one row must not end all others; its line says why
                failure = describe(error, self._secrets)
                reason = f"{failure['kind']}: {failure['message']}"
        if run.is_halted:
            return None
        costs = [record.cost_usd for record in run.records]
        known = [cost for cost in costs if cost is not None]
        return BatchAnswer(
            id=row.id,
            columns=row.columns,
            answer=text,
            error=reason,
            cost_usd=sum(known) if len(known) == len(costs) and costs else None,
            tokens=_tokens(run),
            degraded=tuple(degraded),
            references=tuple(map(_plain, references)),
        )

    def _write(self, answer: BatchAnswer, about: str) -> None:
        run, progress = self._run, self._run.progress
        progress.failed += answer.error is not None
        progress.answered += answer.error is None
        progress.degraded += bool(answer.degraded)
        self._patience.count("the mixture", answer.error)
        if run.output is None:
            run.journal.remove_calls([str(answer.id)])
        else:
            run.output.add(str(answer.id), answer.line(references=run.with_references), about)


class _Round:
    """The rows that are under way at the same time; the next begin when all of them are over."""

    def __init__(self) -> None:
        self._under_way = 0
        self._over = asyncio.Event()

    def begin(self) -> None:
        """Begin a row."""
        self._under_way += 1

    async def end(self) -> None:
        """End a row, and wait until all are over."""
        self._under_way -= 1
        over = self._over
        if self._under_way:
            await over.wait()
            return
        self._over = asyncio.Event()
        over.set()


def _refused(row: Row, reader: RowReader) -> BatchAnswer:
    """Return the answer of a row that cannot be asked: why."""
    try:
        reader.read(row)
    except RowError as error:
        given = row.data.get("id")
        columns = {name: value for name, value in row.data.items() if name != "id"}
        named = given if isinstance(given, str | int) and not isinstance(given, bool) else row.line
        return BatchAnswer(id=named, columns=columns, answer=None, error=str(error))
    msg = "the row can be asked"
    raise AssertionError(msg)


def _tokens(run: QuestionRun) -> dict[str, int] | None:
    usages = [usage for record in run.records if (usage := record.answer.usage_metadata) is not None]
    if not usages:
        return None
    return {name: sum(usage[name] for usage in usages) for name in ("input_tokens", "output_tokens", "total_tokens")}


def _plain(reference: Reference) -> dict[str, Any]:
    error = reference["error"]
    return {
        "layer": reference["layer"],
        "proposer": reference["proposer"],
        "model": reference["model"],
        "text": reference["text"] if error is None else None,
        "error": None if error is None else f"{error['kind']}: {error['message']}",
    }


def journal_of(output: Path) -> Path:
    """Return where the journal of an output is."""
    return output.with_name(f"{output.name}.journal")
