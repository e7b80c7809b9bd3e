"""The queue of batch jobs: gathers the calls that wait, submits them together, and hands out their answers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from time import time
from typing import TYPE_CHECKING
from uuid import uuid4

from langchain_moa.batch.job_apis import JobRequest
from langchain_moa.batch.journal import Job
from langchain_moa.batch.limits import HaltedError
from langchain_moa.data.redaction import describe
from langchain_moa.data.sanitizing import shown_line
from langchain_moa.limits.retry import is_retryable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.batch.job_apis import JobApi, JobState
    from langchain_moa.batch.journal import BatchJournal
    from langchain_moa.batch.limits import Reason

_logger = logging.getLogger("langchain_moa")

LONGEST_POLL = 600.0
"""Seconds; the time between two looks at a job rises until then."""

_RISES_BY = 1.2

# A line that a provider could not answer, for a reason that may pass, is in so many jobs at most.
_ATTEMPTS = 3

# What OpenAI takes in one file is 50,000 lines and 200 MB; Together takes 100 MB.
_MOST_LINES = 50_000
_MOST_BYTES = 90_000_000

# Turns of the event loop, and seconds, in which nothing new must come before a job is submitted.
_QUIET_TURNS = 50
_QUIET_SECONDS = 0.25

_TOO_MANY, _SERVER_ERROR, _UNAVAILABLE = 429, 500, 503


class JobQueue:
    """The calls of a run that go into batch jobs.

    A job is submitted when all calls under way wait for one: then no further call can come before an answer does.

    Attributes:
        journal: Where jobs and their results are written down.
        poll: Seconds between two looks at a job, at first.
        submitted: How many jobs this process has submitted.
        direct: The members that are asked directly, because their provider has no batch jobs.
    """

    def __init__(self, journal: BatchJournal, *, poll: float) -> None:
        """Begin without calls; `run` has to be under way when calls come.

        Args:
            journal: Where jobs and their results are written down.
            poll: Seconds between two looks at a job, at first; also before a job that was refused in passing is sent again.
        """
        self.journal = journal
        self.poll = poll
        self.submitted = 0
        self.direct: set[str] = set()
        self._open = 0
        self._waiting: dict[str, asyncio.Future[tuple[int, str]]] = {}
        self._queued: dict[str, dict[str, JobRequest]] = defaultdict(dict)
        self._requests: dict[str, JobRequest] = {}
        self._attempts: dict[str, int] = defaultdict(int)
        self._apis: dict[str, JobApi] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._halted: HaltedError | None = None

    # --- calls ---

    def begun(self) -> None:
        """Say that a call of a member has begun."""
        self._open += 1
        self._changed.set()

    def ended(self) -> None:
        """Say that it is over."""
        self._open -= 1
        self._changed.set()

    async def open(self, provider: str, api: JobApi) -> None:
        """Begin to look after a provider's jobs, those of earlier processes too.

        Args:
            provider: Its name.
            api: Its jobs.
        """
        if provider in self._apis:
            return
        self._apis[provider] = api
        for job in self.journal.jobs(provider):
            id_ = job.id or await api.find(job, len(self.journal.job_lines(job.token)))
            if id_ is None:
                self.journal.end_job(job.token)  # it was never submitted
                continue
            self.journal.name_job(job.token, id_)
            self._follow(job._replace(id=id_))

    async def answer(self, provider: str, request: JobRequest) -> tuple[int, str, str]:
        """Return the answer to a call, once a job has it.

        Args:
            provider: Whose call it is.
            request: The call, with any id.

        Returns:
            The HTTP status, the body, and the id of the line, which is to be given to `taken` when the answer is kept.

        Raises:
            HaltedError: The run is to end; the job goes on.
        """
        if self._halted is not None:
            raise self._halted
        line, result = self._known(request.key)
        if result is not None:
            return *result, line
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        id_ = line or uuid4().hex
        request = JobRequest(id_, request.key, request.endpoint, request.body)
        self._waiting[id_], self._requests[id_] = future, request
        if not line:
            self._queued[provider][id_] = request
        self._changed.set()
        try:
            return *await future, id_
        finally:
            self._waiting.pop(id_, None)
            self._requests.pop(id_, None)
            self._queued[provider].pop(id_, None)
            self._changed.set()

    def _known(self, key: str) -> tuple[str, tuple[int, str] | None]:
        """Return a line that an earlier process has submitted for the same call, and its result if it has one."""
        for line in self.journal.job_lines_for(key):
            if line.id in self._attempts:
                continue
            if line.status is not None and _is_passing(line.status):
                self.journal.remove_job_line(line.id)  # the process ended before it was in another job
                continue
            self._attempts[line.id] = 1
            return line.id, self.journal.result(line.id)
        return "", None

    def taken(self, line: str) -> None:
        """Forget a line whose answer has been kept.

        Args:
            line: Its id.
        """
        self.journal.remove_job_line(line)
        self._attempts.pop(line, None)

    def halt(self) -> None:
        """End all calls that wait, once the gate is closed; their jobs go on, and the next process finds them."""
        self._halted = HaltedError(self.journal.gate.why)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._halted)

    def give_up(self, reason: Reason, why: str) -> None:
        """Close the gate, and end all calls that wait.

        Args:
            reason: Why.
            why: The same in a sentence.
        """
        self.journal.gate.close(reason, why)
        self.halt()

    def _give_up_writing(self, error: OSError) -> None:
        self.give_up("write", f"the journal cannot be written ({error.strerror}): no further call is made")

    # --- jobs ---

    async def run(self) -> None:
        """Submit jobs until this is cancelled."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if any(self._queued.values()) and await self._is_quiet():
                    for provider in list(self._queued):
                        for lines in self._groups(provider):
                            await self._submit(provider, lines)
        except Exception as error:
            # Nothing would end the calls that wait.
            self.give_up("failures", f"batch jobs cannot be submitted: {describe(error)['message']}")
            raise
        finally:
            for task in self._following.values():
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _is_quiet(self) -> bool:
        """Tell whether all calls under way wait for a job, and no further one begins."""
        for _ in range(2):
            for _ in range(_QUIET_TURNS):
                if self._open != len(self._waiting) or self._changed.is_set():
                    return False
                await asyncio.sleep(0)
            await asyncio.sleep(_QUIET_SECONDS)
        return True

    def _groups(self, provider: str) -> Iterator[list[JobRequest]]:
        """Yield what goes into each job, and take it off the queue."""
        groups: dict[tuple[str, str], list[JobRequest]] = defaultdict(list)
        for request in self._queued[provider].values():
            groups[request.group].append(request)
        self._queued[provider].clear()
        for group in groups.values():
            part: list[JobRequest] = []
            size = 0
            for request in group:
                size += len(json.dumps(request.body))
                if part and (len(part) == _MOST_LINES or size > _MOST_BYTES):
                    yield part
                    part, size = [], len(json.dumps(request.body))
                part.append(request)
            yield part

    async def _submit(self, provider: str, lines: Sequence[JobRequest]) -> None:
        job = Job(uuid4().hex, provider, lines[0].endpoint, time())
        for line in lines:
            self._attempts[line.id] += 1
        try:
            for line in lines:
                self.journal.remove_job_line(line.id)  # of an attempt before
            self.journal.add_job(job, [(line.id, line.key) for line in lines])
            id_ = await self._apis[provider].submit(job, lines)
            self.journal.name_job(job.token, id_)
        except OSError as error:
            self._give_up_writing(error)
            return
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises: the calls have failed by it
            failure = describe(error)
            why = f"{failure['kind']}: {failure['message']}"
            self.journal.end_job(job.token)
            status = getattr(error, "status_code", None)
            if isinstance(status, int) and _is_passing(status):
                # The provider has said that there is no such job: sent again, it is not paid twice.
                _logger.warning("a job of %d calls was refused: %s", len(lines), shown_line(why))
                await asyncio.sleep(self.poll)
                for line in lines:
                    self._again(provider, line.id, status, _error(why))
            else:
                self._refuse([line.id for line in lines], status if isinstance(status, int) else _UNAVAILABLE, why)
            return
        self.submitted += 1
        _logger.info("the job %s has %d calls", id_, len(lines))
        self._follow(job._replace(id=id_))

    def _follow(self, job: Job) -> None:
        task = asyncio.create_task(self._collect(job))
        self._following[job.token] = task
        task.add_done_callback(lambda _: self._following.pop(job.token, None))

    async def _collect(self, job: Job) -> None:
        """Wait for a job's end, and hand out its results."""
        api, wait = self._apis[job.provider], self.poll
        while True:
            await asyncio.sleep(wait)
            wait = min(wait * _RISES_BY, max(LONGEST_POLL, self.poll))
            try:
                state = await api.look(job.id or "")
                if state.is_over:
                    await self._store(job, api, state)
                    return
            except OSError as error:
                self._give_up_writing(error)
                return
            except Exception as error:  # noqa: BLE001  # whatever the SDK raises
                failure = describe(error)
                _logger.warning("the job %s cannot be polled: %s: %s", job.id, failure["kind"], shown_line(failure["message"]))
                if not is_retryable(error):
                    self.give_up("failures", f"the job {job.id} cannot be polled: {failure['message']}")
                    return

    async def _store(self, job: Job, api: JobApi, state: JobState) -> None:
        """Write a job's results down, and hand them out."""
        lines = set(self.journal.job_lines(job.token))
        some: list[tuple[str, int, str]] = []
        async for result in api.results(job.id or ""):
            if result[0] in lines:
                some.append(result)
                lines.discard(result[0])
        self.journal.add_results(some)
        self.journal.end_job(job.token)
        for line, status, body in some:
            if _is_passing(status):
                self._again(job.provider, line, status, body)
            else:
                self._give(line, status, body)
        for line in lines:
            if _is_passing(state.status):
                self._again(job.provider, line, state.status, _error(state.why))
            else:
                self._refuse([line], state.status, state.why)

    def _again(self, provider: str, line: str, status: int, body: str) -> None:
        """Put a line into the next job, or say that it has failed."""
        if self._attempts[line] >= _ATTEMPTS or line not in self._requests:
            self._give(line, status, body)
            return
        self._queued[provider][line] = self._requests[line]
        self._changed.set()

    def _give(self, line: str, status: int, body: str) -> None:
        future = self._waiting.get(line)
        if future is not None and not future.done():
            future.set_result((status, body))

    def _refuse(self, lines: Sequence[str], status: int, why: str) -> None:
        for line in lines:
            self._give(line, status, _error(why))


def _is_passing(status: int) -> bool:
    """Tell whether another job may answer a line with this status."""
    return status == _TOO_MANY or status >= _SERVER_ERROR


def _error(why: str) -> str:
    return json.dumps({"error": {"type": "batch_error", "message": why}})
