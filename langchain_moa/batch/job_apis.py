"""The providers' batch APIs, called with their SDKs: OpenAI, Groq and Together; Anthropic's is in `anthropic_jobs`."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from langchain_moa.batch.journal import Job

# Tolerated clock difference between a provider and this machine, in seconds. A job is found by its name, so it may be large.
_CLOCKS = 86_400

# The time limit of a request in seconds. The limit of a model's client is meant for one answer, not for a file of 90 MB.
_REQUEST_SECONDS = 600

# OpenAI's limits for one file are 50,000 lines and 200 MB; Together's is 100 MB.
_MOST_LINES = 50_000
_MOST_BYTES = 90_000_000

# OpenAI's error code for a job that exceeds the tokens that an organization may have in its queue.
_QUEUE_FULL = "token_limit_exceeded"

TOO_LATE, REFUSED = 504, 400
"""The statuses of lines without a result: another job may answer them, or they have failed for good."""

TOO_LARGE, TOO_MANY = 413, 429
_NOT_FOUND, _DELETED, _SERVER_ERROR = 404, 410, 500

# OpenAI's codes of lines that were not processed in time; another job may answer them.
_LATE_LINES = {"batch_expired", "request_timeout"}

_logger = logging.getLogger("langchain_moa")


class VanishedError(Exception):
    """A provider no longer has the results of a job."""


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
    status: int = TOO_LATE
    why: str = ""
    is_too_large: bool = False


class JobApi(ABC):
    """The batch API of a provider."""

    def __init__(self, client: Any) -> None:
        """Create the API with the async client of the provider's SDK."""
        # If the response to a created job is lost, a retry would create a second one.
        self.client = client.copy(max_retries=0, timeout=_REQUEST_SECONDS)

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
    async def find(self, job: Job, lines: int, known: Collection[str]) -> str | None:
        """Find a job that may have been submitted just before the process ended, and return its id.

        Args:
            job: The job, whose id is unknown.
            lines: The number of its lines.
            known: The ids of our other jobs.

        Returns:
            The id, or `None` if the job was not submitted.
        """

    @abstractmethod
    async def look(self, id_: str) -> JobState:
        """Return the state of a job.

        Raises:
            VanishedError: The provider no longer has its results.
            Exception: The SDK's error.
        """

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
    async def find(self, job: Job, lines: int, known: Collection[str]) -> str | None:
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
                return JobState(is_over=True, status=REFUSED, why=f"the job {id_} was cancelled")
            case "failed":
                errors = (found.get("errors") or {}).get("data") or []
                return JobState(
                    is_over=True,
                    status=REFUSED,
                    why=f"the job {id_} failed: {_reasons(found)}",
                    is_too_large=any(each.get("code") == _QUEUE_FULL for each in errors),
                )
        return JobState(is_over=False)

    @override
    async def results(self, id_: str) -> AsyncIterator[tuple[str, int, str]]:
        found = await self._retrieved(id_)
        for file in (found.get("output_file_id"), found.get("error_file_id")):
            for text in (await self._text(file)).split("\n") if file else ():
                if text.strip() and (result := _openai_result(text)) is not None:
                    yield result

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
    async def find(self, job: Job, lines: int, known: Collection[str]) -> str | None:
        for found in await self._jobs():
            # The job has no metadata, but its input file has our name.
            if datetime.fromisoformat(found["created_at"]).timestamp() >= job.began - _CLOCKS:
                try:
                    file = await self.client.get(f"/files/{found['input_file_id']}", cast_to=object)
                except Exception as error:
                    if not is_vanished(error):
                        raise
                    continue  # the file of an old job was deleted
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


def _openai_result(text: str) -> tuple[str, int, str] | None:
    """Return the id, status and body of a line of a result file, or `None` if it was not processed in time or is cut."""
    try:
        line = json.loads(text)
        id_, response, error = str(line["custom_id"]), line.get("response"), line.get("error")
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        _logger.warning("a line of a result file cannot be read (%s): its call is sent again", type(problem).__name__)
        return None
    if isinstance(response, dict) and response.get("body") is not None:
        return id_, int(response.get("status_code", 200)), json.dumps(response["body"])
    said = error if isinstance(error, dict) else {"message": str(error)}
    if said.get("code") in _LATE_LINES:
        return None
    return id_, REFUSED, json.dumps({"error": {"type": "batch_error", **said}})


def is_vanished(error: Exception) -> bool:
    """Return whether an error says that a provider no longer has a job or its results."""
    return isinstance(error, VanishedError) or getattr(error, "status_code", None) in (_NOT_FOUND, _DELETED)


def is_passing(status: int) -> bool:
    """Return whether a status is transient, so that another job may answer the line."""
    return status == TOO_MANY or status >= _SERVER_ERROR


def error_body(why: str) -> str:
    """Return the body of a response that says why a call failed."""
    return json.dumps({"error": {"type": "batch_error", "message": why}})
