"""A batch that is under way: a bounded number of rows at once, each row once, and no call that was paid for made again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from langchain_moa.batch.asker import Asker, BatchAnswer, LocalAsker
from langchain_moa.batch.calls import fingerprint
from langchain_moa.batch.half_price import ROUND, HalfPrice, without_limits
from langchain_moa.batch.job_desk import JobDesk
from langchain_moa.batch.journal import Journal
from langchain_moa.batch.limits import BatchError, CircuitBreaker, HaltedError, callable_members, tokens_in, unpriced
from langchain_moa.batch.output import Output
from langchain_moa.batch.pace import Paces
from langchain_moa.batch.ray_asker import RayAsker, require_sendable
from langchain_moa.batch.rows import BatchRow, RowReader, rows_in, rows_of
from langchain_moa.data.rows import RowError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable

    from langchain_moa.data.rows import Row
    from langchain_moa.mixture.mixture import Mixture

# Seconds between two times that what was written is made to outlive a power failure.
_BETWEEN_SYNCS = 1.0

# Rows that are passed over between two looks at what else is to be done.
_BETWEEN_LOOKS = 200


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
        ray: str | None = None,
        workers: int = 2,
    ) -> None:
        """Open the journal and the output; see `batch_answers` for the arguments and the errors."""
        if half_price:
            mixture = without_limits(mixture)
        _require_positive(concurrency=concurrency, workers=workers, poll=poll)
        if (ordered or retry_failed) and output is None:
            msg = f"{'ordered' if ordered else 'retry_failed'} is about the output file; give an output"
            raise ValueError(msg)
        if ray is not None:
            require_sendable(mixture, half_price=half_price, max_cost_usd=max_cost_usd)
        if max_cost_usd is not None:
            _require_prices(mixture, is_batched=half_price)
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
        self.asker: Asker | None = None
        try:
            if path is not None:
                self._open(path, retry_failed=retry_failed)
            if ray is not None:
                self.asker = RayAsker(mixture, address=ray, workers=workers, concurrency=concurrency)
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
        if self.asker is not None:
            self.asker.close()
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
            if self.asker is None:
                half_price = None if self.desk is None else HalfPrice(self.desk, concurrency=self.concurrency)
                self.asker = LocalAsker(self.mixture, self.journal, paces=self.paces, half_price=half_price)
            work = _Work(self, self.asker, waiting, found)
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


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if number <= 0:
            msg = f"{name} is {number:g}; give more than 0"
            raise ValueError(msg)


def _require_prices(mixture: Mixture, *, is_batched: bool) -> None:
    """Refuse a limit in dollars that cannot be kept."""
    if unknown := unpriced(callable_members(mixture)):
        msg = f"max_cost_usd cannot be kept: the price of {', '.join(unknown)} is not known"
        raise ValueError(msg)
    if is_batched and mixture.max_tokens is None:
        msg = "max_cost_usd with half_price needs max_tokens: all calls of a job are reserved before one is answered"
        raise ValueError(msg)


class _Work:
    """What the tasks of a run do: take a row, ask it, write its line."""

    def __init__(
        self, run: BatchRun, asker: Asker, waiting: AsyncIterator[Any], found: asyncio.Queue[BatchAnswer | None]
    ) -> None:
        self._run = run
        self._asker = asker
        self._waiting = waiting
        self._found = found
        self._taking = asyncio.Lock()
        # Answers that are not read yet do not pile up.
        self.room = asyncio.Semaphore(run.at_once)
        # Only rows that begin together share their jobs.
        self._round = _Round() if run.desk is not None else None
        self._is_over = False
        self._patience = CircuitBreaker(run.journal.gate, concurrency=run.at_once)

    async def run(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                row, found = taken
                if self._round is not None:
                    self._round.begin()
                answer = await self._asker.ask(found) if found is not None else _refused(row, self._run.reader)
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


def journal_of(output: Path) -> Path:
    """Return where the journal of an output is."""
    return output.with_name(f"{output.name}.journal")
