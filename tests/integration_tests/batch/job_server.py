"""A loopback server with OpenAI's `/v1/files` and `/v1/batches`, and Anthropic's `/v1/messages/batches`."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlparse

from tests.loopback.recorded import last_user_text

if TYPE_CHECKING:
    from collections.abc import Callable

Body = dict[str, Any]


def says(body: Body) -> tuple[int, str]:
    """Answer like a model of the loopback server without a script."""
    return 200, f"{body['model']} says: {last_user_text(body['messages'])}"


@dataclass
class ServedJob:
    """A job.

    Attributes:
        id: Its id.
        lines: The id and the body of each line.
        metadata: Its metadata.
        ending: How it ends: `completed`, or `expired` or `cancelled` after half of its lines, or `failed`.
        file: The id of its file.
        results: The results, which `answered` returns; each line is answered once.
    """

    id: str
    lines: list[tuple[str, Body]]
    metadata: dict[str, str]
    ending: str
    created: float = field(default_factory=time.time)
    file: str = ""
    results: list[tuple[str, int, Body, str]] | None = None


class JobServer:
    """The server, from `__enter__` to `__exit__`.

    Groq's paths start with `/openai`. With `is_together`, files and batches have Together's format.

    Attributes:
        is_together: Whether files and batches have Together's format.
        answer: A function from the body of a line to its status and text.
        jobs: All jobs, in the order of submission.
        endings: The endings of the next jobs; then `completed`.
        direct: The bodies of direct calls.
        holds_from: The index of the first job that does not end, like all after it; `None` if all end.
        drops_created: Whether the response to a created job is never sent.
        has_jobs: Whether there are batch jobs at all.
        list_status: The status of the list of jobs.
        refusals: The statuses with which the next jobs are rejected; 0 closes the connection.
        most_lines: The most lines of a job; a longer one fails as OpenAI's do. `None`: no limit.
        list_form: What the list of jobs is in place of OpenAI's.
        polls: The statuses with which the next polls of a job are rejected.
        gone: The ids of jobs that the server no longer has.
        most_bytes: The most bytes of a request; a larger one is rejected with 413. `None`: no limit.
        loses_created: How many responses to created jobs are lost: the connection is closed.
        created: Called when a job was created, before its response is sent.
        clock: The seconds by which the server's clock is ahead.
        file_changed: Changes the content of the result files.
    """

    def __init__(self) -> None:
        """Create a server."""
        self.is_together = False
        self.answer: Callable[[Body], tuple[int, str]] = says
        self.jobs: list[ServedJob] = []
        self.endings: list[str] = []
        self.direct: list[Body] = []
        self.holds_from: int | None = None
        self.drops_created = False
        self.has_jobs = True
        self.list_status = 200
        self.refusals: list[int] = []
        self.most_lines: int | None = None
        self.list_form: Body | None = None
        self.polls: list[int] = []
        self.gone: set[str] = set()
        self.most_bytes: int | None = None
        self.loses_created = 0
        self.created: Callable[[], object] = lambda: None
        self.clock = 0.0
        self.file_changed: Callable[[bytes], bytes] = bytes
        self.lock = threading.Lock()
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Start the server."""
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def submit(self, lines: list[tuple[str, Body]], metadata: dict[str, str]) -> ServedJob:
        """Add a job."""
        with self.lock:
            ending = self.endings.pop(0) if self.endings else "completed"
            if self.most_lines is not None and len(lines) > self.most_lines:
                ending = "too large"
            job = ServedJob(f"job_{len(self.jobs)}", lines, metadata, ending, time.time() + self.clock)
            self.jobs.append(job)
        return job

    def job(self, id_: str) -> ServedJob:
        """Return a job."""
        return next(job for job in self.jobs if job.id == id_)

    def is_held(self, job: ServedJob) -> bool:
        """Return whether a job keeps running."""
        return self.holds_from is not None and self.jobs.index(job) >= self.holds_from

    def answered(self, job: ServedJob) -> list[tuple[str, int, Body, str]]:
        """Return the id, the status, the body and the text of each line that has a result."""
        with self.lock:
            if job.results is None:
                lines = job.lines if job.ending == "completed" else job.lines[: len(job.lines) // 2]
                job.results = [(id_, *self._one(body)) for id_, body in lines]
        return job.results

    def _one(self, body: Body) -> tuple[int, Body, str]:
        status, text = self.answer(body)
        return status, body, text


def completion(status: int, body: Body, text: str) -> Body:
    """Return an answer or an error in OpenAI's format."""
    if status != 200:
        return {"error": {"message": text, "type": "server_error", "code": None}}
    message = {"role": "assistant", "content": text, "refusal": None}
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": usage,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore errors of clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    owner: JobServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        owner, path = self.owner, urlparse(self.path).path.removeprefix("/openai")
        if (refused := self._refusal(path)) is not None:
            self._send(refused, {"error": {"message": f"not now: {path}", "type": "server_error"}})
        elif found := re.fullmatch(r"/v1/files/(\w+)/content", path):
            self._raw(200, owner.file_changed(owner.files[found[1]]))
        elif owner.is_together and not path.endswith("/content"):
            self._get_together(path.removeprefix("/v1/").split("/"))
        elif path == "/v1/batches":
            data = [self._openai(job) for job in reversed(owner.jobs)]
            self._send(200, owner.list_form or {"object": "list", "data": data, "has_more": False})
        elif found := re.fullmatch(r"/v1/batches/(\w+)", path):
            self._send(200, self._openai(owner.job(found[1])))
        elif path == "/v1/messages/batches":
            data = [self._anthropic(job) for job in reversed(owner.jobs)]
            self._send(200, {"data": data, "has_more": False, "first_id": None, "last_id": None})
        elif found := re.fullmatch(r"/v1/messages/batches/(\w+)/results", path):
            job = owner.job(found[1])
            rows = [{"custom_id": each[0], "result": _result(*each[1:])} for each in owner.answered(job)]
            rest = "canceled" if job.ending == "cancelled" else "expired"
            rows += [{"custom_id": id_, "result": {"type": rest}} for id_, _ in job.lines[len(rows) :]]
            self._raw(200, owner.file_changed(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
        elif found := re.fullmatch(r"/v1/messages/batches/(\w+)", path):
            self._send(200, self._anthropic(owner.job(found[1])))
        else:
            self._send(404, {"error": {"message": path, "type": "not_found_error"}})

    def _refusal(self, path: str) -> int | None:
        """Return the status with which a request for a path is rejected, or `None`."""
        owner = self.owner
        if not owner.has_jobs:
            return 404
        if owner.list_status != 200 and not path.endswith("/content"):
            return owner.list_status
        if (found := re.fullmatch(r"/v1/(messages/)?batches/(\w+)", path)) is None:
            return None
        if owner.polls:
            return owner.polls.pop(0)
        return 404 if found[2] in owner.gone else None

    def _get_together(self, path: list[str]) -> None:
        owner = self.owner
        match path:
            case ["files", id_] if id_ in owner.names:
                self._send(200, {"id": id_, "filename": owner.names[id_]})
            case ["batches"]:
                self._send(200, [self._together(job) for job in reversed(owner.jobs)])
            case ["batches", id_]:
                self._send(200, self._together(owner.job(id_)))
            case _:
                self._send(404, {"error": {"message": "/".join(path), "type": "not_found_error"}})

    def do_POST(self) -> None:
        owner, path = self.owner, urlparse(self.path).path.removeprefix("/openai")
        assert path == "/v1/chat/completions" or not parse_qs(urlparse(self.path).query)
        content = self.rfile.read(int(self.headers["content-length"]))
        match path:
            case _ if owner.most_bytes is not None and len(content) > owner.most_bytes:
                self._send(413, {"error": {"message": "the file is too large", "type": "invalid_request_error"}})
            case "/v1/files" if owner.is_together:
                self._send(400, {"error": {"message": "use /files/upload", "type": "invalid_request_error"}})
            case "/v1/files/upload" if owner.is_together:
                name = re.search(rb'name="file_name"\r\n\r\n(.*)\r\n', content)
                assert name is not None
                assert b'name="purpose"\r\n\r\nbatch-api\r\n' in content
                with owner.lock:
                    id_ = f"file_{len(owner.files)}"
                    owner.names[id_] = name[1].decode()
                    owner.files[id_] = content.split(b'name="file"')[1].split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--")[0]
                self._send(200, _file(id_))
            case "/v1/files":
                with owner.lock:
                    id_ = f"file_{len(owner.files)}"
                    assert b'name="purpose"\r\n\r\nbatch\r\n' in content
                    owner.files[id_] = content.split(b'name="file"')[1].split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
                self._send(200, _file(id_))
            case "/v1/batches":
                self._create(json.loads(content))
            case "/v1/messages/batches":
                requests = json.loads(content)["requests"]
                job = owner.submit([(each["custom_id"], each["params"]) for each in requests], {})
                self._send(200, self._anthropic(job))
            case "/v1/chat/completions":
                body = json.loads(content)
                owner.direct.append(body)
                status, text = owner.answer(body)
                self._send(status, completion(status, body, text))
            case _:
                self._send(404, {"error": {"message": path, "type": "not_found_error"}})

    def _create(self, asked: Body) -> None:
        owner = self.owner
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        rows = [json.loads(line) for line in owner.files[asked["input_file_id"]].splitlines()]
        assert {(row["method"], row["url"]) for row in rows} == {("POST", "/v1/chat/completions")}
        if owner.refusals and owner.refusals[0] == 0:
            owner.refusals.pop(0)
            self.close_connection = True
            return
        if owner.refusals:
            self._send(owner.refusals.pop(0), {"error": {"message": "not now", "type": "server_error"}})
            return
        assert ("metadata" in asked) is not owner.is_together
        job = owner.submit([(row["custom_id"], row["body"]) for row in rows], asked.get("metadata", {}))
        job.file = asked["input_file_id"]
        if owner.drops_created:
            self.close_connection = True
            threading.Event().wait()
        owner.created()
        if owner.loses_created:
            owner.loses_created -= 1
            self.close_connection = True
            return
        self._send(200, {"job": self._together(job)} if owner.is_together else self._openai(job))

    def _openai(self, job: ServedJob) -> Body:
        owner = self.owner
        said: Body = {
            "id": job.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "created_at": int(job.created),
            "input_file_id": "file",
            "metadata": job.metadata,
            "status": "in_progress" if owner.is_held(job) else job.ending,
        }
        if owner.is_held(job):
            return said
        if job.ending == "too large":
            full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None, "param": None}
            return {**said, "status": "failed", "errors": {"object": "list", "data": [full]}}
        if job.ending == "failed":
            problem = {"code": "model_not_found", "message": "there is no such model", "line": 1, "param": None}
            return {**said, "errors": {"object": "list", "data": [problem]}}
        rows = owner.answered(job)
        done = [self._row(id_, status, completion(status, body, text)) for id_, status, body, text in rows if status == 200]
        bad = [self._row(id_, status, completion(status, body, text)) for id_, status, body, text in rows if status != 200]
        expired = {
            "code": "batch_expired",
            "message": "This request could not be executed before the completion window expired.",
        }
        bad += [
            {"custom_id": id_, "response": None, "error": expired}
            for id_, _ in job.lines[len(rows) :]
            if job.ending == "expired"
        ]
        for name, lines in (("output_file_id", done), ("error_file_id", bad)):
            if lines:
                owner.files[f"{name}_{job.id}"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
                said[name] = f"{name}_{job.id}"
        return said

    def _row(self, id_: str, status: int, body: Body) -> Body:
        return {
            "id": "r",
            "custom_id": id_,
            "response": {"status_code": status, "request_id": "x", "body": body},
            "error": None,
        }

    def _together(self, job: ServedJob) -> Body:
        said = self._openai(job)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created))
        kept: Body = {name: said[name] for name in ("id", "endpoint", "output_file_id", "error_file_id") if name in said}
        failed = {"error": "there is no such model"} if job.ending == "failed" else {}
        return {**kept, **failed, "input_file_id": job.file, "status": said["status"].upper(), "created_at": at}

    def _anthropic(self, job: ServedJob) -> Body:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created))
        held = self.owner.is_held(job)
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": "in_progress" if held else "ended",
            "request_counts": {"processing": len(job.lines), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
            "created_at": at,
            "expires_at": at,
            "archived_at": None,
            "ended_at": None if held else at,
            "cancel_initiated_at": at if job.ending == "cancelled" else None,
            "results_url": None if held else f"{self.owner.url}/v1/messages/batches/{job.id}/results",
        }

    def _send(self, status: int, body: Body | list[Body]) -> None:
        self._raw(status, json.dumps(body).encode())

    def _raw(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _file(id_: str) -> Body:
    return {
        "id": id_,
        "object": "file",
        "bytes": 1,
        "created_at": 1,
        "filename": "f",
        "purpose": "batch",
        "status": "processed",
    }


def _result(status: int, body: Body, text: str) -> Body:
    if status != 200:
        kind = {429: "rate_limit_error", 500: "api_error"}.get(status, "invalid_request_error")
        return {"type": "errored", "error": {"type": "error", "request_id": None, "error": {"type": kind, "message": text}}}
    message = {
        "id": "msg",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1_000_000, "output_tokens": 0},
    }
    return {"type": "succeeded", "message": message}
