"""Anthropic's batch API, called with its SDK."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.batch.job_apis import REFUSED, JobApi, JobState, VanishedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from langchain_moa.batch.job_apis import JobRequest
    from langchain_moa.batch.journal import Job

# Tolerated clock difference between Anthropic and this machine, in seconds. It is short: other programs may have jobs of the
# same size.
_CLOSE = 300

_logger = logging.getLogger("langchain_moa")


class AnthropicJobs(JobApi):
    """Jobs of `/v1/messages/batches`."""

    @override
    def endpoint(self, path: str) -> str | None:
        return "/v1/messages" if path.endswith("/messages") else None

    @override
    async def probe(self) -> None:
        await self.client.messages.batches.list(limit=1)

    @override
    async def submit(self, job: Job, lines: Sequence[JobRequest]) -> str:
        requests: Any = [{"custom_id": line.id, "params": line.body} for line in lines]
        return str((await self.client.messages.batches.create(requests=requests)).id)

    @override
    async def find(self, job: Job, lines: int, known: Collection[str]) -> str | None:
        # Jobs have no metadata, so compare size and time. The line ids of another program's job match none of ours.
        nearest, seconds = None, 2.0 * _CLOSE
        async for found in self.client.messages.batches.list(limit=100):
            after = found.created_at.timestamp() - job.began
            if after < -_CLOSE:
                break
            counts = found.request_counts
            total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            if total == lines and found.id not in known and abs(after) < seconds:
                nearest, seconds = str(found.id), abs(after)
        return nearest

    @override
    async def look(self, id_: str) -> JobState:
        found = await self.client.messages.batches.retrieve(id_)
        if found.processing_status != "ended":
            return JobState(is_over=False)
        if found.results_url is None and found.archived_at is not None:
            msg = f"the results of {id_} were removed"
            raise VanishedError(msg)
        if found.cancel_initiated_at is not None:
            return JobState(is_over=True, status=REFUSED, why=f"the job {id_} was cancelled")
        return JobState(is_over=True, why="the job ended without an answer to it")

    @override
    async def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        lines = await self.client.messages.batches.results(id_)
        while True:
            try:
                line = await anext(lines)
            except StopAsyncIteration:
                return
            except ValueError:  # of the SDK, which reads no further
                _logger.warning("the results of the job %s are cut: the calls of the rest are sent again", id_)
                return
            match line.result.type:
                case "succeeded":
                    yield line.custom_id, 200, line.result.message.model_dump_json(exclude_unset=True)
                case "errored":
                    body = line.result.error
                    yield line.custom_id, _STATUS.get(body.error.type, REFUSED), body.model_dump_json()


# Lines of Anthropic's results have the type of an error, but no HTTP status.
_STATUS = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
