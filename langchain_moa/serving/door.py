"""The door of the server: who comes in, how many at once, and what is noted of it."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.datastructures import Headers

from langchain_moa.serving.api_error import ApiError
from langchain_moa.serving.attendance import ClientGoneError
from langchain_moa.serving.failures import failure

if TYPE_CHECKING:
    from collections.abc import Collection, MutableMapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from langchain_moa.serving.keys import Keys

logger = logging.getLogger("langchain_moa.serving.access")

_PUBLIC = {"/health"}
_COUNTED = "/v1/chat/completions"

_ERROR = 500
# What nginx notes where the client has closed the connection; nobody is sent it.
_CLIENT_GONE = 499


class Door:
    """An ASGI application around another: lets in whoever may, and notes each request in a line.

    The line has the client's address, method, path, status, time and the request's id, which the client is told as
    `x-request-id`; neither keys nor questions nor answers.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, hosts: Collection[str] | None, max_requests: int) -> None:
        """Make the door.

        Args:
            app: What is behind it.
            keys: The keys that open it.
            hosts: The names under which it may be called; `None` for any.
            max_requests: How many answers may be under way at once.
        """
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._most = max_requests
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 0
        request_id = f"req_{uuid4().hex}"

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # OpenAI's clients keep it with the answer, and name it in their errors.
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            await self._admit(scope, receive, noting)
        except ClientGoneError:
            status = _CLIENT_GONE
        except ApiError as error:
            await error.response()(scope, receive, noting)
        except Exception as error:  # noqa: BLE001  # nobody above may show its text, which may hold anything
            said = failure(error, breakdown=False)
            if not status:
                await said.response()(scope, receive, noting)
            status = _ERROR
        finally:
            client = (scope.get("client") or ("-",))[0]
            taken = perf_counter() - started
            # Quoted, so that no path can begin a line of its own.
            path = ascii(scope["path"])[1:-1]
            logger.info("%s %s %s %d %.3f s %s", client, scope["method"], path, status, taken, request_id)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in _PUBLIC:
            self._keys.check(headers)
        if path != _COUNTED:
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            many = "1 answer is" if self._most == 1 else f"{self._most} answers are"
            msg = f"{many} under way, which is this server's limit; try again"
            raise ApiError(429, msg, code="too_many_requests", headers={"retry-after": "1"}, retry=True)
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        # A name with a port, or an IPv6 address in brackets with one.
        host = headers.get("host", "").lower()
        name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        if name not in self._hosts:
            # A page whose name suddenly means this machine would be here under its own name.
            msg = f"this server answers only under {', '.join(sorted(self._hosts))}, unless it has API keys"
            raise ApiError(403, msg, code="unknown_host", retry=False)
