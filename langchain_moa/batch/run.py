"""A running batch: bounded concurrency, each row once, and no paid call made twice."""

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
from langchain_moa.batch.pace import Paces, with_own_retries
from langchain_moa.batch.ray_asker import RayAsker
from langchain_moa.batch.rows import BatchRow, RowReader, require_regular, rows_in, rows_of, shown_id
from langchain_moa.batch.settings import BatchSettings
from langchain_moa.batch.workers import as_answered
from langchain_moa.data.rows import RowError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable

    from typing_extensions import Unpack

    from langchain_moa.batch.settings import BatchOptions
    from langchain_moa.data.rows import Row
    from langchain_moa.mixture.mixture import Mixture

# Seconds between two flushes to disk.
_BETWEEN_SYNCS = 1.0

# The number of skipped rows after which other tasks of the event loop get a turn.
_BETWEEN_LOOKS = 200

# Suffixes of files that are not JSON lines.
_OTHER_FORMATS = {".csv", ".tsv", ".parquet", ".xlsx"}


@dataclass(kw_only=True)
class BatchProgress:
    """The progress of a batch.

    Attributes:
        total: The number of rows of the input, or `None` if it is unknown.
        kept: The number of rows that earlier runs wrote to the output.
        kept_failed: How many of those failed.
        answered: The number of rows that this run answered.
        failed: The number of rows that failed in this run.
        degraded: The number of degraded answers of this run.
        began: The start time, by `time.monotonic`.
        prompt_tokens: The estimated number of tokens of the remaining prompts.
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
        """The number of rows that this run processed."""
        return self.answered + self.failed

    @property
    def rate(self) -> float:
        """The number of processed rows per second."""
        return self.done / max(monotonic() - self.began, 1e-9)

    @property
    def left(self) -> int | None:
        """The number of remaining rows, or `None` if it is unknown."""
        return None if self.total is None else self.total - self.kept - self.done


class BatchRun:
    """A running batch. Use it as a context manager, and iterate over `answers` once.

    Attributes:
        mixture: The mixture.
        settings: The settings.
        journal: The journal, with the gate and the budget.
        output: The output file, or `None`.
        progress: The progress.
        job_queue: The queue of batch jobs, or `None` if calls are made directly.
        asker: Runs the mixture on rows. Without Ray, it is `None` until `answers` is read.
    """

    def __init__(
        self, mixture: Mixture, rows: str | Path | Iterable[Any] | AsyncIterable[Any], **options: Unpack[BatchOptions]
    ) -> None:
        """Open the journal and the output; see `batch_answers` for the arguments and the errors."""
        self.settings = settings = BatchSettings(**options)
        self.mixture = with_own_retries(without_limits(mixture) if settings.half_price else mixture)
        settings.require_possible(self.mixture)
        path = settings.path
        if path is not None:
            _require_file(Path(settings.output or path), rows)
        if isinstance(rows, str | Path):
            require_regular(Path(rows))  # before files are made for the output
        self.progress = BatchProgress()
        self._rows = rows
        self._reader = RowReader(prompt_field=settings.prompt_field, system=settings.system)
        self.journal = BatchJournal(None if path is None else journal_of(path), max_cost_usd=settings.max_cost_usd)
        self.output: Output | None = None
        queue = JobQueue(self.journal, poll=settings.poll, resends_vanished=settings.retry_failed)
        self.job_queue = queue if settings.half_price else None
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
        remedy = f"give another --output, or remove {journal_of(path)} to have the answers of both in one file"
        started = f"{path} was started with another"
        if not path.exists() or not path.stat().st_size:
            self.journal.forget_facts()
        self.journal.require("mixture", fingerprint(self.mixture, self.journal), f"{started} mixture; {remedy}")
        self.journal.require("system", self.settings.system or "", f"{started} system message (--system); {remedy}")
        self.journal.require("prompt_field", self.settings.prompt_field or "", f"{started} --prompt-field; {remedy}")
        self.output = Output(path, self.journal, self._reader)
        if self.settings.retry_failed:
            self.output.drop_failed()
        self.journal.count_spent(self.output.cost)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Try to write unsaved data, and unlock the output for other runs."""
        if self.asker is not None:
            self.asker.close()
        if self.output is not None:
            self.output.close()
        self.journal.close()

    @property
    def unsaved_calls(self) -> int:
        """The number of calls that are only in memory, because writing failed. The next run makes them again."""
        return len(self.journal.unsaved)

    @property
    def unsaved_rows(self) -> int:
        """The number of rows that are not in the output, because writing failed. The next run answers them from the journal."""
        return 0 if self.output is None else self.output.unsaved

    def save(self) -> bool:
        """Try to write unsaved data, and return whether everything is in the files."""
        saved = [self.journal.save(), self.output is None or self.output.save()]
        return all(saved)

    def check(self) -> None:
        """Validate and count the rows of an input file before the first call. Iterables are not checked in advance.

        Raises:
            RowError: A row is invalid, its id is a duplicate, or the output has its answer to another prompt.
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
        """Return whether a row failed in an earlier run, or `None` if it has no line in the output."""
        id_ = str(found.id)
        if (before := self.journal.see(id_, row.line)) is not None:
            row.refuse(f"the id {shown_id(id_)} is also in {row.unit} {before}; each row needs its own id")
        line = self.journal.line_of(id_)
        if line is None:
            return None
        if line.about and line.about != found.about:
            row.refuse(
                f"the id {shown_id(id_)} already has an answer in {self.settings.output}, to another prompt; give the rows ids "
                "that do not change, or another --output"
            )
        return bool(line.failed)

    async def answers(self) -> AsyncGenerator[BatchAnswer]:
        """Ask the rows that have no line in the output, and yield their answers as they complete.

        Raises:
            RowError: The input cannot be read.
            OSError: With `ordered`, the sorted output could not be written.
        """
        self.progress.began = monotonic()
        ending = asyncio.Event()
        async with aclosing(self._waiting()) as waiting:
            if self.asker is None:
                queue = self.job_queue
                half_price = None if queue is None else HalfPrice(queue, concurrency=self.settings.concurrency)
                paces = Paces(gate=self.journal.gate)
                self.asker = LocalAsker(self.mixture, self.journal, paces=paces, half_price=half_price)
            work = _Work(self, self.asker)
            answers = as_answered(
                waiting,
                work.ask,
                at_once=self.settings.rows_at_once,
                goes_on=self.journal.gate.is_open,
                # Rows share jobs only if they begin together.
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
        """End early: no further call begins. Batch jobs continue, and the next run finds them."""
        self.journal.gate.close("signal", "the run was ended")
        if self.job_queue is not None:
            self.job_queue.halt()

    async def _waiting(self) -> AsyncGenerator[BatchRow | BatchAnswer]:
        """Yield the rows that have no line in the output. For an invalid row, yield an answer with its error."""
        kept = failed = 0
        async for row in rows_of(self._rows):
            entry: BatchRow | BatchAnswer
            try:
                entry = found = self._reader.read(row)
            except RowError as error:  # only for iterables; files were checked before
                entry = _refused(row, error)
                line = self.journal.line_of(str(entry.id))
                if line is not None and not line.failed:
                    raise  # its line would hide the answer to another row
                has_failed = None if line is None else True
            else:
                has_failed = self._known(row, found)
            if has_failed is None:
                yield entry
                continue
            kept += 1
            failed += has_failed
            # For files, `check` has counted them already.
            self.progress.kept = max(self.progress.kept, kept)
            self.progress.kept_failed = max(self.progress.kept_failed, failed)
            if not kept % _BETWEEN_LOOKS:
                await asyncio.sleep(0)

    async def _sync(self, ending: asyncio.Event) -> None:
        """Flush the files to disk every second until the end."""
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
    """Asks each row and writes its line."""

    def __init__(self, run: BatchRun, asker: Asker) -> None:
        self._run = run
        self._asker = asker
        self._breaker = CircuitBreaker(run.journal.gate, concurrency=run.settings.rows_at_once)

    async def ask(self, row: BatchRow | BatchAnswer) -> BatchAnswer | None:
        answer = row if isinstance(row, BatchAnswer) else await self._asker.ask(row)
        if answer is not None:
            self._write(answer, "" if isinstance(row, BatchAnswer) else row.about)
            if answer is not row:  # an invalid row says nothing about the mixture
                self._breaker.count("the mixture", answer.error)
        return answer

    def _write(self, answer: BatchAnswer, about: str) -> None:
        run, progress = self._run, self._run.progress
        progress.failed += answer.error is not None
        progress.answered += answer.error is None
        progress.degraded += bool(answer.degraded)
        if run.output is None:
            run.journal.remove_calls([str(answer.id)])
        else:
            run.output.add(str(answer.id), answer.line(references=run.settings.references), about)


def _refused(row: Row, error: RowError) -> BatchAnswer:
    """Return the answer for an invalid row."""
    columns = {name: value for name, value in row.data.items() if name != "id"}
    given = row.data.get("id")
    named = given if isinstance(given, str | int) and not isinstance(given, bool) else row.line
    return BatchAnswer(id=named, columns=columns, answer=None, error=str(error))


def _require_file(output: Path, rows: Any) -> None:
    """Refuse an output that is the input, that has the name of another format, or that is no file: it is read again to resume.

    Raises:
        BatchError: It is one of them.
    """
    if output.is_dir():
        msg = f"{output} is a folder; give a file as --output"
        raise BatchError(msg)
    if output.name == "-" or output.suffix.lower() in _OTHER_FORMATS:
        msg = f"{output}: the output is a file of JSON lines; give a name such as answers.jsonl as --output"
        raise BatchError(msg)
    if output.exists() and not output.is_file():
        msg = f"{output} is not a regular file; give a file as --output, from which a later run can resume"
        raise BatchError(msg)
    if isinstance(rows, str | Path) and output.exists() and Path(rows).exists() and output.samefile(rows):
        msg = f"{output} is the input; give another --output"
        raise BatchError(msg)


def journal_of(output: Path) -> Path:
    """Return the path of the journal of an output."""
    return output.with_name(f"{output.name}.journal")
