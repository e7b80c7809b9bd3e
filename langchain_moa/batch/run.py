"""A running batch: a bounded number of rows at once, each row once, and no paid call made twice."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from langchain_moa.batch.asker import Asker, BatchAnswer, LocalAsker
from langchain_moa.batch.calls import fingerprint
from langchain_moa.batch.half_price import HalfPrice, without_limits
from langchain_moa.batch.job_queue import JobQueue
from langchain_moa.batch.journal import BatchJournal
from langchain_moa.batch.limits import BatchError, CircuitBreaker, tokens_in
from langchain_moa.batch.output import Output
from langchain_moa.batch.ray_asker import RayAsker
from langchain_moa.batch.rows import BatchRow, RowReader, rows_in, rows_of
from langchain_moa.batch.settings import BatchSettings
from langchain_moa.batch.workers import as_answered
from langchain_moa.data.rows import RowError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable

    from typing_extensions import Unpack

    from langchain_moa.batch.settings import BatchOptions
    from langchain_moa.data.rows import Row
    from langchain_moa.mixture.mixture import Mixture

# Seconds between two writes to the disk, which protect against a power failure.
_BETWEEN_SYNCS = 1.0

# Rows that are skipped before other tasks of the event loop get a turn.
_BETWEEN_LOOKS = 200


@dataclass(kw_only=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        total: How many rows the input has; `None` if that is unknown.
        kept: How many have a line in the output from earlier runs.
        kept_failed: How many of those have failed.
        answered: How many this run has answered.
        failed: How many have failed in this run.
        degraded: How many of its answers are degraded.
        began: When it began, on the clock of `time.monotonic`.
        prompt_tokens: About how many tokens the remaining rows have.
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
    """A running batch. Use it as a context manager; `answers` can be read once.

    Attributes:
        mixture: The mixture that answers.
        settings: How rows are read, asked and written.
        journal: The journal, with the gate and the budget.
        output: The output; `None` if there is none.
        progress: How far it is.
        job_queue: The calls that wait for batch jobs; `None` if all are made directly.
        asker: What asks the rows; `None` before `answers` is read, except on Ray.
    """

    def __init__(
        self, mixture: Mixture, rows: str | Path | Iterable[Any] | AsyncIterable[Any], **options: Unpack[BatchOptions]
    ) -> None:
        """Open the journal and the output; see `batch_answers` for the arguments and the errors."""
        self.settings = settings = BatchSettings(**options)
        self.mixture = without_limits(mixture) if settings.half_price else mixture
        settings.require_possible(self.mixture)
        path = settings.path
        if path is not None and isinstance(rows, str | Path) and path.absolute() == Path(rows).absolute():
            msg = f"{path} is the input; give another --output"
            raise BatchError(msg)
        self.progress = BatchProgress()
        self._rows = rows
        self._reader = RowReader(prompt_field=settings.prompt_field, system=settings.system)
        self.journal = BatchJournal(None if path is None else journal_of(path), max_cost_usd=settings.max_cost_usd)
        self.output: Output | None = None
        self.job_queue = JobQueue(self.journal, poll=settings.poll) if settings.half_price else None
        self.asker: Asker | None = None
        try:
            if path is not None:
                self._open(path)
            if settings.ray is not None:
                self.asker = RayAsker(
                    self.mixture, address=settings.ray, workers=settings.workers, concurrency=settings.concurrency
                )
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> None:
        refusal = (
            f"{path} was started with another mixture; give another --output, or remove {journal_of(path)} to have the answers "
            "of both in one file"
        )
        self.journal.require("mixture", fingerprint(self.mixture, self.journal), refusal)
        self.output = Output(path, self.journal, self._reader)
        if self.settings.retry_failed:
            self.output.drop_failed()
        self.journal.count_spent(self.output.cost)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Try again to write what could not be written, and let other runs open the output."""
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
            RowError: A row cannot be asked, its id is a duplicate, or it was answered for another prompt.
        """
        if not isinstance(self._rows, str | Path):
            return
        total = kept = failed = tokens = 0
        for row in rows_in(Path(self._rows)):
            total += 1
            found = self._reader.read(row)
            has_failed = self._known(row, found)
            if has_failed is None:
                tokens += sum(tokens_in(message.text) for message in found.messages)
            else:
                kept += 1
                failed += has_failed
        if not total:
            msg = f"{self._rows} has no rows"
            raise RowError(msg)
        self.journal.forget_seen()
        self.progress.total, self.progress.prompt_tokens = total, tokens
        self.progress.kept, self.progress.kept_failed = kept, failed

    def _known(self, row: Row, found: BatchRow) -> bool | None:
        """Return whether a row has failed before; `None` if it has no line in the output."""
        id_ = str(found.id)
        if (before := self.journal.see(id_, row.line)) is not None:
            row.refuse(f"the id {id_!r} is also in line {before}; each row needs its own id")
        line = self.journal.line_of(id_)
        if line is None:
            return None
        if line.about and line.about != found.about:
            row.refuse(
                f"the id {id_!r} already has an answer in {self.settings.output}, to another prompt; give the rows ids that do "
                "not change, or another --output"
            )
        return bool(line.failed)

    async def answers(self) -> AsyncGenerator[BatchAnswer]:
        """Ask the rows that have no line in the output, and yield their answers as they come.

        Raises:
            RowError: The input cannot be read any further.
            OSError: With `ordered`, the output could not be written again in the order of the input.
        """
        self.progress.began = monotonic()
        ending = asyncio.Event()
        async with aclosing(self._waiting()) as waiting:
            if self.asker is None:
                queue = self.job_queue
                half_price = None if queue is None else HalfPrice(queue, concurrency=self.settings.concurrency)
                self.asker = LocalAsker(self.mixture, self.journal, half_price=half_price)
            work = _Work(self, self.asker)
            answers = as_answered(
                waiting,
                work.ask,
                at_once=self.settings.rows_at_once,
                goes_on=self.journal.gate.is_open,
                # Only rows that begin together share their jobs.
                in_rounds=self.job_queue is not None,
            )
            submitting = [] if self.job_queue is None else [asyncio.create_task(self.job_queue.run())]
            syncing = asyncio.create_task(self._sync(ending))
            try:
                async with aclosing(answers):
                    async for answer in answers:
                        yield answer
            finally:
                ending.set()
                for task in submitting:
                    task.cancel()
                ended = await asyncio.gather(*submitting, syncing, return_exceptions=True)
            for each in ended:
                if isinstance(each, Exception):
                    raise each
        if self.settings.ordered and self.output is not None and self.journal.gate.reason is None:
            await asyncio.to_thread(self.output.rewrite, self.journal.lines_in_order())

    def halt(self) -> None:
        """End early: no further call begins. The next run finds the batch jobs that are under way."""
        self.journal.gate.close("signal", "the run was ended")
        if self.job_queue is not None:
            self.job_queue.halt()

    async def _waiting(self) -> AsyncGenerator[BatchRow | BatchAnswer]:
        """Yield the rows that have no line in the output; in place of one that cannot be asked, the answer that says why."""
        kept = failed = 0
        async for row in rows_of(self._rows):
            try:
                found = self._reader.read(row)
            except RowError as error:  # of an iterable; a file was checked before
                yield _refused(row, error)
                continue
            has_failed = self._known(row, found)
            if has_failed is None:
                yield found
                continue
            kept += 1
            failed += has_failed
            # `check` has counted those of a file.
            self.progress.kept = max(self.progress.kept, kept)
            self.progress.kept_failed = max(self.progress.kept_failed, failed)
            if not kept % _BETWEEN_LOOKS:
                await asyncio.sleep(0)

    async def _sync(self, ending: asyncio.Event) -> None:
        """Have what was written outlive a power failure, every second until the end."""
        while self.output is not None and not ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), _BETWEEN_SYNCS)
            try:
                await self.output.sync()
            except OSError as error:
                path = self.output.path
                self.journal.gate.close("write", f"{path} cannot be written ({error.strerror}): no further call is made")
                return
            self.journal.sync()


class _Work:
    """What is done with each row: it is asked, and its line is written."""

    def __init__(self, run: BatchRun, asker: Asker) -> None:
        self._run = run
        self._asker = asker
        self._breaker = CircuitBreaker(run.journal.gate, concurrency=run.settings.rows_at_once)

    async def ask(self, row: BatchRow | BatchAnswer) -> BatchAnswer | None:
        answer = row if isinstance(row, BatchAnswer) else await self._asker.ask(row)
        if answer is not None:
            self._write(answer, "" if isinstance(row, BatchAnswer) else row.about)
        return answer

    def _write(self, answer: BatchAnswer, about: str) -> None:
        run, progress = self._run, self._run.progress
        progress.failed += answer.error is not None
        progress.answered += answer.error is None
        progress.degraded += bool(answer.degraded)
        self._breaker.count("the mixture", answer.error)
        if run.output is None:
            run.journal.remove_calls([str(answer.id)])
        else:
            run.output.add(str(answer.id), answer.line(references=run.settings.references), about)


def _refused(row: Row, error: RowError) -> BatchAnswer:
    """Return the answer of a row that cannot be asked."""
    columns = {name: value for name, value in row.data.items() if name != "id"}
    given = row.data.get("id")
    named = given if isinstance(given, str | int) and not isinstance(given, bool) else row.line
    return BatchAnswer(id=named, columns=columns, answer=None, error=str(error))


def journal_of(output: Path) -> Path:
    """Return where the journal of an output is."""
    return output.with_name(f"{output.name}.journal")
