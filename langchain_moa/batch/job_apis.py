"""The providers' batch APIs, called with their SDKs: OpenAI, Groq, Together and Anthropic."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from langchain_moa.batch.journal import Job

# Tolerated clock difference between a provider and this machine, in seconds.
_CLOCKS = 300

# OpenAI's limits for one file are 50,000 lines and 200 MB; Together's is 100 MB.
_MOST_LINES = 50_000
_MOST_BYTES = 90_000_000

# OpenAI's error code for a job that exceeds the tokens that an organization may have in its queue.
_TOO_LARGE = "token_limit_exceeded"

_TOO_LATE = 504
_REFUSED = 400


@dataclass(frozen=True)
class JobRequest:
    """A line of a job to submit.

    Attributes:
        id: Its id.
        key: A hash of the provider, the endpoint and the body.
        endpoint: The endpoint, such as `/v1/chat/completions`.
        body: The body of the request.
    """

    id: str
    key: str
    endpoint: str
    body: Any

    @property
    def group(self) -> tuple[str, str]:
        """The endpoint and model: all lines of a job must share them, because OpenAI takes one model per job."""
        return self.endpoint, str(self.body.get("model"))


def split(requests: Iterable[JobRequest], *, most_lines: int | None = None) -> list[list[JobRequest]]:
    """Split requests into jobs, each with one endpoint and model, within the providers' limits.

    Args:
        requests: The requests.
        most_lines: The maximum number of lines of a job. Default: the providers' limit.

    Returns:
        The lines of each job.
    """
    groups: dict[tuple[str, str], list[JobRequest]] = defaultdict(list)
    for request in requests:
        groups[request.group].append(request)
    jobs: list[list[JobRequest]] = []
    for group in groups.values():
        size = _MOST_BYTES  # the first line begins a job
        for request in group:
            length = len(json.dumps(request.body))
            size += length
            if size > _MOST_BYTES or len(jobs[-1]) == (most_lines or _MOST_LINES):
                jobs.append([])
                size = length
            jobs[-1].append(request)
    return jobs


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Attributes:
        is_over: Whether the job has ended.
        status: The HTTP status of lines without a result after the end: 504 if another job may answer them.
        why: The reason of that status.
        is_too_large: Whether the provider rejected the job because all pending jobs would have too many tokens.
    """

    is_over: bool
    status: int = _TOO_LATE
    why: str = ""
    is_too_large: bool = False


class JobApi(ABC):
    """The batch API of a provider."""

    def __init__(self, client: Any) -> None:
        """Create the API with the async client of the provider's SDK."""
        self.client = client

    @abstractmethod
    def endpoint(self, path: str) -> str | None:
        """Return the endpoint for the path of a request, or `None` if jobs do not support it."""

    @abstractmethod
    async def probe(self) -> None:
        """Check that the provider has batch jobs by listing them, which is free of charge.

        Raises:
            Exception: The SDK's error if the provider has no batch jobs or does not answer.
        """

    @abstractmethod
    async def submit(self, job: Job, lines: Sequence[JobRequest]) -> str:
        """Submit a job and return its id."""

    @abstractmethod
    async def find(self, job: Job, lines: int) -> str | None:
        """Find a job that may have been submitted just before the process ended, and return its id.

        Args:
            job: The job, whose id is unknown.
            lines: The number of its lines.

        Returns:
            The id, or `None` if the job was not submitted.
        """

    @abstractmethod
    async def look(self, id_: str) -> JobState:
        """Return the state of a job."""

    @abstractmethod
    def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        """Yield the results of a job that has ended: the id of each line, the HTTP status, and the body as JSON."""


class OpenAIJobs(JobApi):
    """Jobs of `/v1/files` and `/v1/batches`, as OpenAI and compatible servers have them."""

    @override
    def endpoint(self, path: str) -> str | None:
        for name in ("/chat/completions", "/responses"):
            if path.endswith(name):
                return f"/v1{name}"
        return None

    @override
    async def probe(self) -> None:
        page = await self.client.batches.list(limit=1)
        if not isinstance(getattr(page, "data", None), list):
            # xAI, for example, has other batches at the same address.
            msg = "its batches are not those of OpenAI"
            raise TypeError(msg)

    @override
    async def submit(self, job: Job, lines: Sequence[JobRequest]) -> str:
        file = await self.client.files.create(file=(f"{job.token}.jsonl", _content(lines)), purpose="batch")
        endpoint: Any = job.endpoint
        created = await self.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"langchain_moa": job.token}
        )
        return str(created.id)

    @override
    async def find(self, job: Job, lines: int) -> str | None:
        async for found in self._listed():
            if (found.metadata or {}).get("langchain_moa") == job.token:
                return str(found.id)
            if found.created_at < job.began - _CLOCKS:
                break  # newest jobs are listed first
        return None

    async def _listed(self) -> AsyncIterator[Any]:
        async for found in self.client.batches.list(limit=100):
            yield found

    @override
    async def look(self, id_: str) -> JobState:
        found = await self._retrieved(id_)
        match found["status"].lower():
            case "completed" | "expired":
                return JobState(is_over=True, why="the job ended without an answer to it")
            case "cancelled":
                return JobState(is_over=True, status=_REFUSED, why=f"the job {id_} was cancelled")
            case "failed":
                errors = (found.get("errors") or {}).get("data") or []
                return JobState(
                    is_over=True,
                    status=_REFUSED,
                    why=f"the job {id_} failed: {_reasons(found)}",
                    is_too_large=any(each.get("code") == _TOO_LARGE for each in errors),
                )
        return JobState(is_over=False)

    @override
    async def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        found = await self._retrieved(id_)
        for file in (found.get("output_file_id"), found.get("error_file_id")):
            for text in (await self._text(file)).split("\n") if file else ():
                if text.strip():
                    line = json.loads(text)
                    if (result := _openai_result(line)) is not None:
                        yield str(line["custom_id"]), *result

    async def _retrieved(self, id_: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = (await self.client.batches.retrieve(id_)).model_dump()
        return found

    async def _text(self, file: str) -> str:
        content = await self.client.files.content(file)
        return str(content.text)


class GroqJobs(OpenAIJobs):
    """Groq's jobs: OpenAI's API, with an SDK that does not paginate the list and reads files with a coroutine."""

    @override
    async def probe(self) -> None:
        await self.client.batches.list()

    @override
    async def _listed(self) -> AsyncIterator[Any]:
        for found in (await self.client.batches.list()).data:
            yield found

    @override
    async def _text(self, file: str) -> str:
        content = await self.client.files.content(file)
        return str(await content.text())


class TogetherJobs(OpenAIJobs):
    """Together's jobs: unlike OpenAI's, with another upload, a list that is not paginated, and no metadata.

    langchain-together uses OpenAI's SDK, whose generic methods `get` and `post` send these requests.
    """

    @override
    async def probe(self) -> None:
        await self._jobs()

    @override
    async def submit(self, job: Job, lines: Sequence[JobRequest]) -> str:
        name = f"{job.token}.jsonl"
        file = await self.client.post(
            "/files/upload",
            body={"purpose": "batch-api", "file_name": name, "file_type": "jsonl"},
            files={"file": (name, _content(lines))},
            options={"headers": {"Content-Type": "multipart/form-data"}},
            cast_to=object,
        )
        asked = {"input_file_id": file["id"], "endpoint": job.endpoint, "completion_window": "24h"}
        return str((await self.client.post("/batches", body=asked, cast_to=object))["job"]["id"])

    @override
    async def find(self, job: Job, lines: int) -> str | None:
        for found in await self._jobs():
            # The job has no metadata, but its input file has our name.
            if datetime.fromisoformat(found["created_at"]).timestamp() >= job.began - _CLOCKS:
                file = await self.client.get(f"/files/{found['input_file_id']}", cast_to=object)
                if file["filename"] == f"{job.token}.jsonl":
                    return str(found["id"])
        return None

    @override
    async def _retrieved(self, id_: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self.client.get(f"/batches/{id_}", cast_to=object)
        return found

    async def _jobs(self) -> Sequence[Mapping[str, Any]]:
        return await self.client.get("/batches", cast_to=object) or []


def _content(lines: Sequence[JobRequest]) -> bytes:
    """Return the content of a job's input file."""
    rows = ({"custom_id": line.id, "method": "POST", "url": line.endpoint, "body": line.body} for line in lines)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _reasons(found: Mapping[str, Any]) -> str:
    """Return why a job failed: OpenAI has a list of errors, Together a string."""
    listed = (found.get("errors") or {}).get("data") or []
    said = [each["message"] for each in listed if each.get("message")] or [found.get("error")]
    return "; ".join(str(each) for each in said if each) or "no reason given"


def _openai_result(line: Any) -> tuple[int, str] | None:
    """Return the status and body of a line of a result file, or `None` if the job expired before the line was processed."""
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
        # Jobs have no metadata, so compare size and time. The line ids of another program's job match none of ours.
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
