"""A loopback server with OpenAI's chat completions API.

It answers as scripted and records every request, so that tests can check what was really
sent to the models.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from tests.loopback.connection import Connection
from tests.loopback.exchange import Exchange
from tests.loopback.gate import Gate
from tests.loopback.recorded import Recorded
from tests.loopback.script import Script, echo
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from langchain_openai import ChatOpenAI

    from tests.loopback.reply import Behaviour, Body

_BACKLOG = 2048


class Loopback:
    """An OpenAI-compatible server on a free port of 127.0.0.1.

    Example:
        ```python
        with Loopback() as server:
            server.script("a", ["first", Reply("second", delay=0.1)])
            server.script("b", Reply(status=429, headers={"retry-after": "0"}))
            server.chat("a").invoke("Hi")
            assert server.requests[0].user == "Hi"
        ```
    """

    def __init__(self) -> None:
        """Create a server, which runs from `__enter__` to `__exit__`."""
        self.connections: set[Connection] = set()
        self._requests: list[Recorded] = []
        self._scripts: dict[str, Script] = {}
        self._open: dict[int, Recorded] = {}
        self._arrived = self._connected = 0
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._started = threading.Event()

    # The test's side: any thread.

    @property
    def requests(self) -> list[Recorded]:
        """Every request since the last `reset`, in order of arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def models(self) -> list[str]:
        """The called models, in order of arrival."""
        return [request.model for request in self.requests]

    @property
    def scripted(self) -> list[str]:
        """The models that have a script."""
        return list(self._scripts)

    @property
    def peak(self) -> int:
        """The maximum number of concurrent calls since the last `reset`."""
        return max((request.together for request in self.requests), default=0)

    def calls(self, model: str) -> list[Recorded]:
        """Return the requests to one model, in order of arrival."""
        return [request for request in self.requests if request.model == model]

    def system(self, index: int = -1) -> str:
        """Return the system text of a request, by default the last."""
        return self.requests[index].system

    def script(self, model: str, behaviour: Behaviour) -> None:
        """Set the behaviour of a model.

        Args:
            model: The model's name, or `"*"` for every model without a script.
            behaviour: A text or `Reply` for every call; a list with one per call, of which
                the last repeats; or a sync or async function that takes the request's body.
                The function runs in the server's only thread, so it must not block.
        """
        self._scripts[model] = Script(behaviour)

    def gate(self) -> Gate:
        """Return a closed gate for `Reply(gate=...)`."""
        return Gate(lambda: self._loop.call_soon_threadsafe(self._notify))

    def wait_for(self, count: int, model: str | None = None) -> list[Recorded]:
        """Block until a number of requests have arrived, and return them.

        Args:
            count: The number of requests since the last `reset`.
            model: Count only requests to this model. Default: all.

        Raises:
            TimeoutError: They do not arrive within `PATIENCE` seconds.
        """

        def arrived() -> list[Recorded]:
            return [r for r in self._requests if model in (None, r.model)]

        self._wait(lambda: len(arrived()) >= count, f"{count} requests to {model or 'any model'}")
        return self.requests if model is None else self.calls(model)

    @property
    def open_calls(self) -> int:
        """The number of calls without a complete response. A script's own call is included."""
        return len(self._open)

    def settle(self) -> list[Recorded]:
        """Block until no call is open, and return all requests.

        Raises:
            TimeoutError: A call is still open after `PATIENCE` seconds.
        """
        self._wait(lambda: not self._open, "no open call")
        return self.requests

    def reset(self, *, scripts: bool = False) -> None:
        """Clear the requests, and with `scripts=True` also the scripts."""
        with self._changed:
            self._requests.clear()
            if scripts:
                self._scripts.clear()

    def chat(self, model: str = "a", **settings: Any) -> ChatOpenAI:
        """Return a `ChatOpenAI` at this server.

        Args:
            model: The model's name.
            settings: Further parameters of `ChatOpenAI`, which override `settings()`.
        """
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(**{**self.settings(model), **settings})

    def settings(self, model: str = "a") -> dict[str, Any]:
        """Return the parameters of a `ChatOpenAI` at this server: no retries, usage in streams."""
        return {
            "base_url": self.url,
            "api_key": "test",
            "model": model,
            "max_retries": 0,
            "stream_usage": True,
            **self._clients,
        }

    @cached_property
    def _clients(self) -> dict[str, Any]:
        # ChatOpenAI's default clients would create two TLS contexts for every server, which takes 80 ms per test.
        # The async client keeps no connections, which would outlive the test's event loop.
        from openai import DEFAULT_CONNECTION_LIMITS, DefaultAsyncHttpxClient, DefaultHttpxClient

        alone = type(DEFAULT_CONNECTION_LIMITS)(max_connections=None, max_keepalive_connections=0)
        return {
            "http_client": DefaultHttpxClient(verify=False, trust_env=False),
            "http_async_client": DefaultAsyncHttpxClient(verify=False, trust_env=False, limits=alone),
        }

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(ready, timeout=PATIENCE):
                msg = f"waited {PATIENCE:g} s for {what}; arrived: {[r.model for r in self._requests]}"
                raise TimeoutError(msg)

    # Start and stop.

    def __enter__(self) -> Self:
        """Start the server."""
        # In this thread, so that the error is raised here if sockets are forbidden.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="loopback", daemon=True)
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the server, and raise the error of a script unless another exception is being raised."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if "_clients" in self.__dict__:
            self._clients["http_client"].close()
        if self._failure is not None and error is None:
            raise self._failure

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listener = await self._loop.create_server(self._connect, sock=self._listener, backlog=_BACKLOG)
        self._started.set()
        await self._stop.wait()
        listener.close()
        for connection in list(self.connections):
            connection.transport.abort()

    def _connect(self) -> Connection:
        self._connected += 1
        return Connection(self, self._connected)

    # The server's side: its own thread.

    async def answer(self, connection: Connection, headers: Mapping[str, str], body: Body) -> None:
        """Record a request and answer it as scripted."""
        request = self._record(connection, headers, body)
        try:
            script = self._scripts.get(request.model) or self._scripts.get("*") or Script(echo)
            request.reply = await script.reply(body)
            exchange = Exchange(connection, request, request.reply, self._until, self._answered)
            await exchange.run()
        except asyncio.CancelledError:
            request.disconnected = not self._stop.is_set()
            raise
        finally:
            del self._open[request.number]
            self._notify()

    def failed(self, problem: BaseException) -> None:
        """Store the first error of a script, to raise it in the test."""
        self._failure = self._failure or problem

    def _record(self, connection: Connection, headers: Mapping[str, str], body: Body) -> Recorded:
        self._arrived += 1
        request = Recorded(
            number=self._arrived,
            model=body["model"],
            body=body,
            headers=headers,
            connection=connection.number,
            arrived=time.monotonic(),
        )
        with self._changed:
            self._requests.append(request)
            self._open[request.number] = request
        for other in self._open.values():
            other.together = max(other.together, len(self._open))
        self._notify()
        return request

    def _answered(self, model: str) -> bool:
        return any(request.finished for request in self.calls(model))

    async def _until(self, ready: Callable[[], bool]) -> None:
        if not ready():
            change = self._loop.create_future()
            self._waiting.append((ready, change))
            await change

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
        still = []
        for ready, change in self._waiting:
            if not ready():
                still.append((ready, change))
            elif not change.done():
                change.set_result(None)
        self._waiting = still
