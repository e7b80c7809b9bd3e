"""Metrics for Prometheus, and the log line of each request."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.responses import Response

from langchain_moa.data.usage import cost_of_call
from langchain_moa.serving.errors import ApiError, failure
from langchain_moa.serving.parameters import first_names

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("langchain_moa.serving.access")

_ERROR = 500

_LONGEST_PLACE = 200

CLIENT_GONE = 499
"""nginx's status for a client that closed the connection. It is used only in the log and the metrics."""

# Seconds, up to the default timeout of OpenAI's clients.
_BUCKETS = (0.5, 1, 2, 5, 10, 20, 40, 60, 90, 120, 180, 300, 600)


@dataclass
class RequestRecord:
    """The data of a request for the log and the metrics.

    Attributes:
        id: The request's id, which is sent to the client as `x-request-id`.
        owner: The name of the client's key.
        mixture: The name of the mixture; empty for requests without one.
        calls: The calls made for the request.
        ignored: The ignored parameters.
        status: The status for the log, if it differs from the sent one.
    """

    id: str = field(default_factory=lambda: f"req_{uuid4().hex}")
    owner: str = "-"
    mixture: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    ignored: Sequence[str] = ()
    status: int | None = None

    @property
    def tokens(self) -> int:
        """The tokens of all calls, as far as providers reported them."""
        return sum(call["usage"]["total_tokens"] for call in self.calls if call.get("usage"))

    @property
    def cost_usd(self) -> tuple[float, int]:
        """The cost of the calls with a known price in US dollars, and the number of these calls."""
        costs = [cost for call in self.calls if (cost := cost_of_call(call)) is not None]
        return sum(costs), len(costs)

    def words(self) -> str:
        """Return a description for a log line."""
        said = [f"key={self.owner}"]
        if self.mixture:
            dollars, priced = self.cost_usd
            at_least = "" if priced == len(self.calls) else f" ({priced} of {len(self.calls)} calls priced)"
            said += [f"model={self.mixture}", f"calls={len(self.calls)}", f"tokens={self.tokens}"]
            said += [f"cost={f'${dollars:.6f}' if priced or not self.calls else 'unknown'}{at_least}"]
        if self.ignored:
            said.append(f"ignored={','.join(first_names(self.ignored))}")
        return " ".join(said)


class Metrics:
    """The metrics of a server, by mixture, member and key.

    With the environment variable `PROMETHEUS_MULTIPROC_DIR` (see prometheus-client), they are sums over all processes.

    Attributes:
        running: The number of answers in progress.
    """

    def __init__(self) -> None:
        """Register the metrics."""
        self._registry = CollectorRegistry()
        own = {"registry": self._registry}
        self._requests = Counter("moa_requests", "Requests, by status.", ["mixture", "key", "status"], **own)  # type: ignore[arg-type]  # keywords
        self._seconds = Histogram("moa_request_seconds", "Seconds of answers.", ["mixture", "key"], buckets=_BUCKETS, **own)  # type: ignore[arg-type]  # keywords
        labels = ["mixture", "member", "key"]
        self._calls = Counter("moa_calls", "Calls of members, by status.", [*labels, "status"], **own)  # type: ignore[arg-type]  # keywords
        self._tokens = Counter("moa_tokens", "Tokens of members.", [*labels, "kind"], **own)  # type: ignore[arg-type]  # keywords
        self._dollars = Counter("moa_cost_usd", "US dollars, of calls with a known price.", labels, **own)  # type: ignore[arg-type]  # keywords
        self._failures = Counter("moa_failures", "Failed calls, by kind.", [*labels, "kind"], **own)  # type: ignore[arg-type]  # keywords
        self.running = Gauge("moa_answers_running", "Answers in progress.", multiprocess_mode="livesum", **own)  # type: ignore[arg-type]  # keywords

    def count(self, record: RequestRecord, status: int, seconds: float) -> None:
        """Count a request that has ended.

        Args:
            record: The request.
            status: The HTTP status.
            seconds: The duration.
        """
        self._requests.labels(record.mixture, record.owner, str(status)).inc()
        if record.calls:
            # Not requests that were refused.
            self._seconds.labels(record.mixture, record.owner).observe(seconds)
        for call in record.calls:
            labels = (record.mixture, str(call.get("name") or call.get("model")), record.owner)
            self._calls.labels(*labels, str(call["status"])).inc()
            if usage := call.get("usage"):
                self._tokens.labels(*labels, "input").inc(usage["input_tokens"])
                self._tokens.labels(*labels, "output").inc(usage["output_tokens"])
            if (cost := cost_of_call(call)) is not None:
                self._dollars.labels(*labels).inc(cost)
            if error := call.get("error"):
                self._failures.labels(*labels, str(error["kind"])).inc()

    def response(self) -> Response:
        """Return all metrics in Prometheus's text format."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus-client has no annotation here
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class AccessLog:
    """ASGI middleware that gives each request an id, logs it and counts it.

    The log line has the client's address, the method, path, status and seconds, the key's name, the mixture with its calls,
    tokens and dollars, and the request's id. It never has keys, questions or answers.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an application.

        Args:
            app: The application.
            metrics: Counts the requests.
        """
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record, started, status = RequestRecord(), perf_counter(), 0
        scope.setdefault("state", {})["moa"] = record

        async def with_id(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # OpenAI's clients store the id with the answer and show it in errors.
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", record.id.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        except ApiError as error:
            await error.response()(scope, receive, with_id)
        except Exception as error:  # noqa: BLE001  # the ASGI server would log its message, which may have secrets
            said = failure(error, breakdown=False)
            if not status:
                await said.response()(scope, receive, with_id)
            status = _ERROR
        finally:
            seconds = perf_counter() - started
            status = record.status or status or CLIENT_GONE
            client = (scope.get("client") or ("-",))[0]
            # Escape them, so that they cannot forge log lines, and cut them, so that they cannot fill the disk.
            place = ascii(f"{scope['method']} {scope['path']}")[1:-1][:_LONGEST_PLACE]
            logger.info("%s %s %d %.3f s %s %s", client, place, status, seconds, record.words(), record.id)
            self._metrics.count(record, status, seconds)


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of a request."""
    record: RequestRecord = scope["state"]["moa"]
    return record
