"""The queue of batch jobs: collects waiting calls, submits them as jobs, and returns their results."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from time import time
from typing import TYPE_CHECKING
from uuid import uuid4

from langchain_moa.batch.job_apis import TOO_LARGE, TOO_LATE, TOO_MANY, JobRequest, error_body, is_passing, is_vanished, split
from langchain_moa.batch.journal import Job
from langchain_moa.batch.limits import HaltedError
from langchain_moa.data.redaction import describe
from langchain_moa.data.sanitizing import shown_line
from langchain_moa.limits.retry import is_retryable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from langchain_moa.batch.job_apis import JobApi, JobState
    from langchain_moa.batch.journal import BatchJournal
    from langchain_moa.batch.limits import Reason

_logger = logging.getLogger("langchain_moa")

LONGEST_POLL = 600.0
"""The maximum time between two polls of a job, in seconds."""

_RISES_BY = 1.2

# The maximum number of jobs in which a line with a transient error is tried.
_ATTEMPTS = 3

# A job is submitted after so many turns of the event loop, and seconds, without a new call.
_QUIET_TURNS = 50
_QUIET_SECONDS = 0.25


class JobQueue:
    """The calls of a run that are sent as batch jobs.

    Jobs are submitted when every call in progress waits for one: no further call can begin before an answer arrives.

    Attributes:
        journal: The journal that records jobs and their results.
        poll: The initial number of seconds between two polls of a job.
        submitted: The number of jobs that this process submitted.
        direct: The model ids of members that are called directly, because their provider has no batch jobs.
    """

    def __init__(self, journal: BatchJournal, *, poll: float, resends_vanished: bool = False) -> None:
        """Create an empty queue. `run` must be running when calls are added.

        Args:
            journal: The journal that records jobs and their results.
            poll: The initial number of seconds between two polls of a job, and before a refused job is submitted again.
            resends_vanished: Whether calls of a job that its provider no longer has are sent again. Default: the run ends.
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
        self._refusals: dict[str, int] = defaultdict(int)
        self._resends_vanished = resends_vanished
        self._most_lines: dict[str, int] = {}
        self._one_by_one: set[str] = set()
        self._apis: dict[str, JobApi] = {}
        self._following: dict[Job, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._halted: HaltedError | None = None

    # --- calls ---

    def begun(self) -> None:
        """Count a member's call that begins."""
        self._open += 1
        self._changed.set()

    def ended(self) -> None:
        """Count a member's call that ends."""
        self._open -= 1
        self._changed.set()

    async def open(self, provider: str, api: JobApi) -> None:
        """Add a provider, and follow its jobs that earlier processes submitted.

        Args:
            provider: The name of the provider.
            api: Its batch API.
        """
        if provider in self._apis:
            return
        self._apis[provider] = api
        for job in self.journal.jobs(provider):
            lines, known = len(self.journal.job_lines(job.token)), self.journal.job_ids(provider)
            id_ = job.id or await api.find(job, lines, known)
            if id_ is None:
                self.journal.end_job(job.token)  # it was never submitted
                continue
            self.journal.name_job(job.token, id_)
            self._follow(job._replace(id=id_))

    async def answer(self, provider: str, request: JobRequest) -> tuple[int, str, str]:
        """Put a call into a job, and wait for its result.

        Args:
            provider: The name of the provider.
            request: The call; its id is ignored.

        Returns:
            The HTTP status, the body, and the id of the line. Pass the id to `taken` when the answer has been recorded.

        Raises:
            HaltedError: The run is ending. The job continues at the provider.
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
        """Return the id of a line that an earlier process submitted for the same call, and its result if there is one."""
        for line in self.journal.job_lines_for(key):
            if line.id in self._attempts:
                continue
            if line.status is not None and is_passing(line.status):
                self.journal.remove_job_line(line.id)  # the process ended before the line was in another job
                continue
            self._attempts[line.id] = 1
            return line.id, self.journal.result(line.id)
        return "", None

    def taken(self, line: str) -> None:
        """Remove a line whose answer has been recorded.

        Args:
            line: The id of the line.
        """
        self.journal.remove_job_line(line)
        self._attempts.pop(line, None)

    def halt(self) -> None:
        """Fail all waiting calls after the gate is closed. Their jobs continue, and the next process finds them."""
        self._halted = HaltedError(self.journal.gate.why)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._halted)

    def give_up(self, reason: Reason, why: str) -> None:
        """Close the gate, and fail all waiting calls.

        Args:
            reason: The reason.
            why: The reason as a sentence.
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
                        for lines in self._next_jobs(provider):
                            await self._submit(provider, lines)
        except Exception as error:
            # Otherwise the waiting calls would never end.
            self.give_up("failures", f"batch jobs cannot be submitted: {_reason(error)}")
            raise
        finally:
            for task in self._following.values():
                task.cancel()
            await asyncio.gather(*self._following.values(), return_exceptions=True)

    async def _is_quiet(self) -> bool:
        """Return whether all calls in progress wait for a job and no new call begins."""
        for _ in range(2):
            for _ in range(_QUIET_TURNS):
                if self._open != len(self._waiting) or self._changed.is_set():
                    return False
                await asyncio.sleep(0)
            await asyncio.sleep(_QUIET_SECONDS)
        return True

    def _next_jobs(self, provider: str) -> Iterator[list[JobRequest]]:
        """Take the lines of the next jobs off the queue. After the provider's queue was full, only one job runs at a time."""
        queued, is_one = self._queued[provider], provider in self._one_by_one
        if is_one and any(job.provider == provider for job in self._following):
            return
        for lines in split(queued.values(), most_lines=self._most_lines.get(provider))[: 1 if is_one else None]:
            # While the job before was submitted, the run may have ended, or calls may have been cancelled.
            waiting = [line for line in lines if queued.pop(line.id, None) is not None]
            if waiting and self._halted is None:
                yield waiting

    async def _submit(self, provider: str, lines: Sequence[JobRequest]) -> None:
        job = Job(uuid4().hex, provider, lines[0].endpoint, time())
        for line in lines:
            self._attempts[line.id] += 1
        try:
            for line in lines:
                self.journal.remove_job_line(line.id)  # of an earlier attempt
            self.journal.add_job(job, [(line.id, line.key) for line in lines])
            id_ = await self._apis[provider].submit(job, lines)
            self.journal.name_job(job.token, id_)
        except OSError as error:
            self._give_up_writing(error)
            return
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises
            await self._not_submitted(job, lines, error)
            return
        self._submitted(job, id_, len(lines))

    def _submitted(self, job: Job, id_: str, lines: int) -> None:
        self._refusals[job.provider] = 0
        self.submitted += 1
        _logger.info("the job %s has %d calls", id_, lines)
        self._follow(job._replace(id=id_))

    async def _not_submitted(self, job: Job, lines: Sequence[JobRequest], error: Exception) -> None:
        """After a final error, fail the calls of a job. After a transient one, submit them again unless the provider has it."""
        ids = [line.id for line in lines]
        status = getattr(error, "status_code", None)
        if isinstance(status, int) and not is_passing(status):
            self.journal.end_job(job.token)
            if status == TOO_LARGE and len(ids) > 1:
                self._halve(job.provider, ids)
            else:
                self._refuse(ids, status, _reason(error))
            return
        # Only after a 429 is it certain that the provider has not created the job, so that another job is not paid twice.
        is_uncertain = status != TOO_MANY
        why: str | None = _reason(error)
        found = None
        while why is not None:
            _logger.warning("a job of %d calls was not submitted: %s", len(lines), shown_line(why))
            self._refusals[job.provider] += 1
            if self._refusals[job.provider] >= _ATTEMPTS:
                # A job that the provider may have created stays in the journal, and the next run looks for it.
                if not is_uncertain:
                    self.journal.end_job(job.token)
                self.give_up("failures", f"batch jobs cannot be submitted: {why}; run the same command later")
                return
            await asyncio.sleep(self.poll)
            found, why = await self._find(job, len(lines)) if is_uncertain else (None, None)
        if found is None:
            self.journal.end_job(job.token)
            self._requeue(job.provider, ids)
        else:
            self.journal.name_job(job.token, found)
            self._submitted(job, found, len(lines))

    async def _find(self, job: Job, lines: int) -> tuple[str | None, str | None]:
        """Look for a job at its provider. Return its id, or `None`, and the reason if the provider did not answer."""
        try:
            return await self._apis[job.provider].find(job, lines, self.journal.job_ids(job.provider)), None
        except Exception as error:  # noqa: BLE001  # SDKs raise errors of any class
            return None, _reason(error)

    def _follow(self, job: Job) -> None:
        task = asyncio.create_task(self._collect(job))
        self._following[job] = task
        task.add_done_callback(lambda _: self._is_over(job))

    def _is_over(self, job: Job) -> None:
        del self._following[job]
        self._changed.set()

    async def _collect(self, job: Job) -> None:
        """Poll a job until it ends, and return its results to the waiting calls."""
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
            except Exception as error:  # noqa: BLE001  # SDKs raise errors of any class
                why = _reason(error)
                _logger.warning("the job %s cannot be polled: %s", job.id, shown_line(why))
                if is_vanished(error):
                    self._vanished(job, why)
                    return
                if not is_retryable(error):
                    self.give_up("failures", f"the job {job.id} cannot be polled: {why}")
                    return

    async def _store(self, job: Job, api: JobApi, state: JobState) -> None:
        """Record a job's results, and return them to the waiting calls."""
        lines = set(self.journal.job_lines(job.token))
        if state.is_too_large:
            self._too_large(job, lines, state.why)
            return
        some: list[tuple[str, int, str]] = []
        async for result in api.results(job.id or ""):
            if result[0] in lines:
                some.append(result)
                lines.discard(result[0])
        self.journal.add_results(some)
        self.journal.end_job(job.token)
        for line, status, body in some:
            if is_passing(status):
                self._again(job.provider, line, status, body)
            else:
                self._give(line, status, body)
        for line in lines:
            if is_passing(state.status):
                self._again(job.provider, line, state.status, error_body(state.why))
            else:
                self._refuse([line], state.status, state.why)

    def _too_large(self, job: Job, lines: set[str], why: str) -> None:
        """Submit the lines of a job again in jobs of half the size, one after the other."""
        self.journal.end_job(job.token)
        if len(lines) == 1 and not any(other.provider == job.provider for other in self._following if other != job):
            self.give_up("failures", f"{why}; run the same command when other jobs are over")
            return
        _logger.warning("%s: its %d lines are sent in smaller jobs, one after the other", shown_line(why), len(lines))
        self._one_by_one.add(job.provider)
        self._halve(job.provider, lines)

    def _halve(self, provider: str, lines: Collection[str]) -> None:
        self._most_lines[provider] = max(1, min(len(lines) // 2, self._most_lines.get(provider, len(lines))))
        self._requeue(provider, lines)

    def _vanished(self, job: Job, why: str) -> None:
        """Send the lines of a job that the provider no longer has again, if the user has said so, or end the run."""
        if not self._resends_vanished:
            remedy = "use the key that submitted it, or --retry-failed to send its calls again"
            self.give_up("failures", f"the job {job.id} is not there any more ({why}); {remedy}")
            return
        lines = self.journal.job_lines(job.token)
        self.journal.end_job(job.token)
        for line in lines:
            self._again(job.provider, line, TOO_LATE, error_body(why))

    def _requeue(self, provider: str, lines: Iterable[str]) -> None:
        """Put lines of a job that the provider has not accepted back into the queue."""
        for line in lines:
            self._attempts[line] -= 1
            if line in self._requests:
                self._queued[provider][line] = self._requests[line]
        self._changed.set()

    def _again(self, provider: str, line: str, status: int, body: str) -> None:
        """Put a line into the next job, or fail it if it has no attempts left."""
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
            self._give(line, status, error_body(why))


def _reason(error: Exception) -> str:
    failure = describe(error)
    return f"{failure['kind']}: {failure['message']}"
