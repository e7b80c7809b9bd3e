"""Batch jobs at providers, by their own SDKs: OpenAI's files and batches, and Anthropic's message batches."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from langchain_moa.batch.journal import Job

# Seconds that a provider's clock may be behind ours.
_CLOCKS = 300

_TOO_LATE = 504
_REFUSED = 400


@dataclass(frozen=True)
class JobRequest:
    """A line of a job that is to be submitted.

    Attributes:
        id: Its id.
        key: A hash of what it asks of whom.
        endpoint: What it is sent to, such as `/v1/chat/completions`.
        body: What it asks.
    """

    id: str
    key: str
    endpoint: str
    body: Any

    @property
    def group(self) -> tuple[str, str]:
        """What lines of one job have in common: OpenAI takes one model in each job."""
        return self.endpoint, str(self.body.get("model"))


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Attributes:
        is_over: Whether nothing more will come of it.
        status: The HTTP status of lines that have no result when it is over: 504 if the next job may answer them.
        why: The same in words.
    """

    is_over: bool
    status: int = _TOO_LATE
    why: str = ""


class JobApi(ABC):
    """A provider's batch jobs."""

    def __init__(self, client: Any) -> None:
        """Take the client of its SDK."""
        self.client = client

    @abstractmethod
    def endpoint(self, path: str) -> str | None:
        """Return the endpoint of a request's path; `None` if no job can have it."""

    @abstractmethod
    async def probe(self) -> None:
        """Ask the provider for its batch jobs, which costs nothing.

        Raises:
            Exception: What the SDK raises if there are none, or if the provider does not answer.
        """

    @abstractmethod
    async def submit(self, job: Job, lines: Sequence[JobRequest]) -> str:
        """Submit a job and return the id that it is given."""

    @abstractmethod
    async def find(self, job: Job, lines: int) -> str | None:
        """Return the id of a job that was submitted when the process ended; `None` if it was not submitted.

        Args:
            job: The job, of which we know no id.
            lines: How many lines it has.
        """

    @abstractmethod
    async def look(self, id_: str) -> JobState:
        """Return how far a job is."""

    @abstractmethod
    def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        """Yield the results of a job that is over: the id of each line, the HTTP status, and the body as JSON."""


class OpenAIJobs(JobApi):
    """Jobs of `/v1/files` and `/v1/batches`: OpenAI, Groq, Together and others."""

    @override
    def endpoint(self, path: str) -> str | None:
        for name in ("/chat/completions", "/responses"):
            if path.endswith(name):
                return f"/v1{name}"
        return None

    @override
    async def probe(self) -> None:
        await self.client.batches.list(limit=1)

    @override
    async def submit(self, job: Job, lines: Sequence[JobRequest]) -> str:
        rows = ({"custom_id": line.id, "method": "POST", "url": line.endpoint, "body": line.body} for line in lines)
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        # Together has its own name for it.
        purpose: Any = "batch-api" if "together" in str(self.client.base_url) else "batch"
        file = await self.client.files.create(file=(f"{job.token}.jsonl", content), purpose=purpose)
        endpoint: Any = job.endpoint
        created = await self.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"langchain_moa": job.token}
        )
        return str(created.id)

    @override
    async def find(self, job: Job, lines: int) -> str | None:
        async for found in self.client.batches.list(limit=100):
            if (found.metadata or {}).get("langchain_moa") == job.token:
                return str(found.id)
            if found.created_at < job.began - _CLOCKS:
                break  # the latest come first
        return None

    @override
    async def look(self, id_: str) -> JobState:
        found = await self.client.batches.retrieve(id_)
        match str(found.status).lower():
            case "completed" | "expired":
                return JobState(is_over=True, why="the job ended without an answer to it")
            case "cancelled":
                return JobState(is_over=True, status=_REFUSED, why=f"the job {id_} was cancelled")
            case "failed":
                said = [
                    each.message for each in (found.errors.data if found.errors and found.errors.data else []) if each.message
                ]
                return JobState(
                    is_over=True, status=_REFUSED, why=f"the job {id_} failed: {'; '.join(said) or 'no reason given'}"
                )
        return JobState(is_over=False)

    @override
    async def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        found = await self.client.batches.retrieve(id_)
        for file in (found.output_file_id, found.error_file_id):
            if not file:
                continue
            content = await self.client.files.content(file)
            for text in content.text.split("\n"):
                if text.strip():
                    line = json.loads(text)
                    if (result := _openai_result(line)) is not None:
                        yield str(line["custom_id"]), *result


def _openai_result(line: Any) -> tuple[int, str] | None:
    """Return the status and the body of a line of a result file; `None` if it was not asked before the job's end."""
    response, error = line.get("response"), line.get("error")
    if response and response.get("body") is not None:
        return int(response.get("status_code", 200)), json.dumps(response["body"])
    if (error or {}).get("code") == "batch_expired":
        return None
    said = error if isinstance(error, dict) else {"message": str(error)}
    return _REFUSED, json.dumps({"error": {"type": "batch_error", **said}})


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
    async def find(self, job: Job, lines: int) -> str | None:
        # A job has no name of ours. One of another program has other ids of lines, and answers none of ours.
        async for found in self.client.messages.batches.list(limit=100):
            began = found.created_at.timestamp()
            if began < job.began - _CLOCKS:
                break
            counts = found.request_counts
            total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            if total == lines and began < job.began + 2 * _CLOCKS:
                return str(found.id)
        return None

    @override
    async def look(self, id_: str) -> JobState:
        found = await self.client.messages.batches.retrieve(id_)
        if found.processing_status != "ended":
            return JobState(is_over=False)
        if found.cancel_initiated_at is not None:
            return JobState(is_over=True, status=_REFUSED, why=f"the job {id_} was cancelled")
        return JobState(is_over=True, why="the job ended without an answer to it")

    @override
    async def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        async for line in await self.client.messages.batches.results(id_):
            match line.result.type:
                case "succeeded":
                    yield line.custom_id, 200, line.result.message.model_dump_json(exclude_unset=True)
                case "errored":
                    body = line.result.error
                    yield line.custom_id, _STATUS.get(body.error.type, _REFUSED), body.model_dump_json()


# Anthropic's lines say what kind of error it is, and not which status.
_STATUS = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
