"""A loopback HTTP server with the protocols of all providers, each below its own path."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from tests.providers.conversation import Answer, capable, marker, sign
from tests.providers.protocol import Recorded, RefusedError
from tests.providers.protocols import make_protocols

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from tests.providers.conversation import Behaviour, Turn
    from tests.providers.protocol import Json, Protocol

_PATIENCE = 120.0


class ProviderServer:
    """The providers, on a free port of 127.0.0.1.

    Each provider answers below `url_of(vendor)`. A request that breaks one of its rules is answered with its error
    and listed in `refused`; other requests are answered as scripted, by default by `capable`.

    Attributes:
        requests: All requests, in order of arrival.
        url: The base URL of the providers' paths.

    Example:
        ```python
        with ProviderServer() as server:
            server.script("claude-sonnet-4-6", ["first", Answer(text="second", thoughts="hm")])
            member(server, "anthropic").invoke("Hi")
            assert server.requests[0].body["messages"][0]["content"] == "Hi"
            assert not server.refused
        ```
    """

    def __init__(self) -> None:
        """Create a server, which runs from `__enter__` to `__exit__`."""
        self.requests: list[Recorded] = []
        self.stopped = threading.Event()
        self._protocols: Mapping[str, Protocol] = make_protocols()
        self._scripts: dict[str, Behaviour] = {}
        self._calls: dict[str, int] = {}
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._sockets: set[socket.socket] = set()

    @property
    def refused(self) -> list[Recorded]:
        """The rejected requests; their `refused` has the rule."""
        return [request for request in self.requests if request.refused is not None]

    @property
    def rules(self) -> list[str]:
        """The broken rules, in order."""
        return [request.refused.rule for request in self.requests if request.refused is not None]

    def url_of(self, vendor: str) -> str:
        """Return the base URL of a provider, without the path that its client adds."""
        return f"{self.url}/{vendor}"

    def calls(self, model: str) -> list[Recorded]:
        """Return the requests to one model."""
        return [request for request in self.requests if request.model == model]

    def script(self, model: str, behaviour: Behaviour) -> None:
        """Set the behaviour of a model. The last answer of a list repeats."""
        self._scripts[model] = behaviour

    def leaks(self) -> list[str]:
        """Return one line for each thought or signature of a model that was sent anywhere except back to it in its message."""
        written = {(r.vendor, r.model) for r in self.requests if r.answer is not None and r.answer.thoughts}
        found = []
        for request in self.requests:
            for vendor, model in sorted(written):
                own = (vendor, model) == (request.vendor, request.model)
                text = json.dumps(_without_own(request.body)) if own else json.dumps(request.body)
                for kind, secret in (("thoughts", marker(vendor, model)), ("signature", sign(vendor, model, "")[:-36])):
                    if json.dumps(secret)[1:-1] in text:
                        found.append(
                            f"{kind} of {vendor} {model} in request {request.number} to {request.vendor} {request.model}"
                        )
        return found

    # Start and stop.

    def __enter__(self) -> Self:
        """Start the server."""
        handler = type("Handler", (_Handler,), {"providers": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="providers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the server, and raise the error of a script unless another exception is being raised."""
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        for connection in list(self._sockets):
            _close(connection)
        if self._failure is not None and error is None:
            raise self._failure

    # The server's side: a thread for each connection.

    def opened(self, connection: socket.socket) -> None:
        """Add a connection, to close it with the server."""
        self._sockets.add(connection)

    def closed(self, connection: socket.socket) -> None:
        """Remove a connection."""
        self._sockets.discard(connection)

    def answer(self, handler: _Handler, path: str, headers: Mapping[str, str], body: Json) -> None:
        """Record a request, check it, and answer it."""
        vendor, _, rest = path.lstrip("/").partition("/")
        protocol = self._protocols.get(vendor)
        if protocol is None:
            handler.respond(404, {"error": f"unknown provider: {vendor}"})
            return
        with self._lock:
            request = Recorded(number=len(self.requests) + 1, vendor=vendor, path="/" + rest, headers=headers, body=body)
            self.requests.append(request)
        try:
            turn = protocol.read(request)
        except RefusedError as problem:
            request.refused = problem
            handler.respond(400, protocol.error(400, str(problem)), protocol.error_headers(400))
            return
        request.model = turn.model
        answer = self._said(turn).cut(turn)
        if answer.hold is not None:
            self._wait(answer.hold)
        if answer.status >= 400:
            handler.respond(answer.status, protocol.error(answer.status, answer.text), protocol.error_headers(answer.status))
            return
        request.answer = answer
        request.tokens = (turn.prompt_tokens, answer.completion_tokens)
        if turn.stream:
            handler.respond_in_pieces(protocol.stream_type, protocol.stream(turn, answer))
        else:
            handler.respond(200, protocol.whole(turn, answer))

    def failed(self, problem: BaseException) -> None:
        """Store the first error of a script, to raise it in the test."""
        self._failure = self._failure or problem

    def _said(self, turn: Turn) -> Answer:
        behaviour = self._scripts.get(turn.model, capable)
        if callable(behaviour):
            said = behaviour(turn)
        elif isinstance(behaviour, Answer | str):
            said = behaviour
        else:
            with self._lock:
                place = self._calls.get(turn.model, 0)
                self._calls[turn.model] = place + 1
            said = behaviour[min(place, len(behaviour) - 1)]
        return Answer(text=said) if isinstance(said, str) else said

    def _wait(self, event: threading.Event) -> None:
        for _ in range(int(_PATIENCE / 0.05)):
            if event.wait(0.05) or self.stopped.is_set():
                return


def _without_own(body: Json) -> Json:
    """Return a body without the messages that the model itself may have written."""

    def kept(item: Any) -> bool:
        own = isinstance(item, dict) and (
            item.get("role") in {"assistant", "model"} or item.get("type") in {"reasoning", "function_call"}
        )
        return not own

    return {key: list(filter(kept, value)) if isinstance(value, list) else value for key, value in body.items()}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of connections that a client closed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    providers: ProviderServer

    def setup(self) -> None:
        self.providers.opened(self.request)
        super().setup()

    def finish(self) -> None:
        self.providers.closed(self.request)
        super().finish()

    def do_POST(self) -> None:
        try:
            body = json.loads(self._body() or b"{}")
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.providers.answer(self, self.path, headers, body)
        except OSError:
            self.close_connection = True
        except Exception as problem:
            self.providers.failed(problem)
            self.respond(500, {"error": {"message": f"{type(problem).__name__}: {problem}"}})
            raise

    def do_GET(self) -> None:
        self.respond(404, {"error": {"message": f"unknown: GET {self.path}"}})

    def respond(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete answer."""
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def respond_in_pieces(self, content_type: str, pieces: Iterable[bytes]) -> None:
        """Send a stream."""
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Disable the log."""

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data


def _close(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client has closed the connection
