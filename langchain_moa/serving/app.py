"""Mixtures as an ASGI application that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from langchain_moa.chat_model.chat_model import ChatMoA
from langchain_moa.serving.api_error import ApiError, answer_error, answer_http_error
from langchain_moa.serving.attendance import ClientGoneError, attended
from langchain_moa.serving.body import read_json
from langchain_moa.serving.call import Call
from langchain_moa.serving.chat_request import ChatRequest
from langchain_moa.serving.completion import Completion, Pieces
from langchain_moa.serving.door import Door
from langchain_moa.serving.event_stream import EventStream
from langchain_moa.serving.failures import answer_fault, failure, out_of_time
from langchain_moa.serving.keys import Keys
from langchain_moa.serving.limits import MEBIBYTE, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Collection, Iterable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

T = TypeVar("T")


def make_app(
    mixtures: ChatMoA | Mapping[str, ChatMoA],
    *,
    api_keys: Iterable[str] = (),
    allowed_hosts: Collection[str] | None = None,
    breakdown: bool = True,
    max_requests: int = 64,
    max_body_bytes: int = 16 * MEBIBYTE,
    timeout: float = 600.0,
    ping: float = 15.0,
) -> ASGIApp:
    """Make an ASGI application that offers mixtures to every client that speaks OpenAI's protocol.

    It has `/v1/chat/completions`, `/v1/models` and `/health`, runs under any ASGI server, and can be mounted in an application
    of yours. Other websites' pages cannot use it (no CORS); wrap it into your framework's middleware where they should.

    Args:
        mixtures: The mixtures by the names that clients call them by. One alone is `moa`.
        api_keys: Keys that clients must send one of, each of 16 characters or more. Default: everybody may ask.
        allowed_hosts: The names (`Host`) under which it may be called. Default: any.
        breakdown: Whether clients are shown the calls behind an answer (`moa` beside `usage`) and, in errors, which member
            failed and why. Default: they are.
        max_requests: Answers under way at once; who comes then gets a 429. Default: 64.
        max_body_bytes: The longest request, images included. Default: 16 MiB.
        timeout: Seconds that one request may take, from its first byte to the last of the answer. Default: 600.
        ping: Seconds of silence in a stream after which a comment is sent, for proxies. Default: 15.

    Returns:
        The application.

    Raises:
        ImportError: `starlette` is missing; the text has the pip command.
        ValueError: There is no mixture, a key is too short, or a limit is not above zero.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.serving import make_app

        app = make_app({"fast": ChatMoA.from_preset("local", num_layers=1)})  # uvicorn module:app
        ```
    """
    named: dict[str, Any] = {"moa": mixtures} if isinstance(mixtures, ChatMoA) else dict(mixtures)
    if not named:
        msg = "mixtures: give at least one, as {'name': ChatMoA(...)}"
        raise ValueError(msg)
    for name, mixture in named.items():
        if not isinstance(mixture, ChatMoA):
            msg = f"mixtures: {name!r} is a {type(mixture).__name__}; give a ChatMoA"
            raise ValueError(msg)  # noqa: TRY004  # a wrong setting is a wrong value
    limits = Limits(max_requests=max_requests, max_body_bytes=max_body_bytes, timeout=timeout, ping=ping)
    endpoint = _Endpoint(named, limits, breakdown=breakdown)
    app = Starlette(
        routes=[
            Route("/health", endpoint.health, methods=["GET"]),
            Route("/v1/models", endpoint.models, methods=["GET"]),
            Route("/v1/models/{name:path}", endpoint.model, methods=["GET"]),
            Route("/v1/chat/completions", endpoint.complete, methods=["POST"]),
        ],
        exception_handlers={ApiError: answer_error, HTTPException: answer_http_error, Exception: answer_fault},
    )
    return Door(app, keys=Keys.of(api_keys), hosts=allowed_hosts, max_requests=limits.max_requests)


class _Endpoint:
    """The routes of the application."""

    def __init__(self, mixtures: Mapping[str, ChatMoA], limits: Limits, *, breakdown: bool) -> None:
        self._mixtures = mixtures
        self._limits = limits
        self._breakdown = breakdown
        self._started = int(time())

    async def health(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def models(self, _: Request) -> JSONResponse:
        return JSONResponse({"object": "list", "data": [self._described(name) for name in self._mixtures]})

    async def model(self, request: Request) -> JSONResponse:
        name = request.path_params["name"]
        self._find(name)
        return JSONResponse(self._described(name))

    async def complete(self, request: Request) -> ASGIApp:
        until = asyncio.get_running_loop().time() + self._limits.timeout
        body = await self._by(until, read_json(request, max_bytes=self._limits.max_body_bytes))
        asked = ChatRequest.read(body)
        call = Call.of(self._find(asked.model), asked)
        completion = Completion(model=asked.model, by_tool=call.by_tool, breakdown=self._breakdown)
        if asked.stream:
            pieces = Pieces(completion, include_usage=asked.wants_usage)
            return EventStream(self._stream(call, pieces), ping=self._limits.ping, until=until, late=self._late)
        try:
            message = await attended(request.receive, self._by(until, call.runnable.ainvoke(call.messages, **call.kwargs)))
        except (ApiError, ClientGoneError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets it in OpenAI's form
            raise failure(error, breakdown=self._breakdown) from None
        return JSONResponse(completion.whole(message))

    async def _stream(self, call: Call, pieces: Pieces) -> AsyncGenerator[dict[str, Any]]:
        try:
            async with aclosing(call.runnable.astream(call.messages, **call.kwargs)) as chunks:
                async for chunk in chunks:
                    for piece in pieces.read(chunk):
                        yield piece
            for piece in pieces.last():
                yield piece
        except Exception as error:  # noqa: BLE001  # as above
            raise failure(error, breakdown=self._breakdown) from None

    async def _by(self, until: float, work: Awaitable[T]) -> T:
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise self._late from None
            raise

    @property
    def _late(self) -> ApiError:
        return out_of_time(self._limits.timeout)

    def _find(self, name: str) -> ChatMoA:
        if name not in self._mixtures:
            msg = f"there is no model {name[:64]!r} here; there are {', '.join(self._mixtures)}"
            raise ApiError(404, msg, code="model_not_found", param="model")
        return self._mixtures[name]

    def _described(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "langchain-moa"}
