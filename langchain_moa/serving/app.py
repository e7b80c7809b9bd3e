"""The ASGI application: mixtures behind OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.routing import Route

from langchain_moa.chat_model.chat_model import ChatMoA
from langchain_moa.serving.authentication import ApiKeys
from langchain_moa.serving.conversation import Links
from langchain_moa.serving.errors import (
    ApiError,
    ClientGoneError,
    answer_api_error,
    answer_http_error,
    answer_unexpected,
)
from langchain_moa.serving.limits import MEBIBYTE, Limits
from langchain_moa.serving.metrics import CLIENT_GONE, AccessLog, record_of
from langchain_moa.serving.mixtures import ServedMixture
from langchain_moa.serving.routes import Progress, Routes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

# Paths for load balancers, which need no API key.
_PUBLIC = {"/health", "/ready"}


def make_app(
    mixtures: ChatMoA | Mapping[str, ChatMoA],
    *,
    api_keys: Iterable[str] = (),
    allowed_hosts: Collection[str] | None = None,
    cors_origins: Collection[str] = (),
    link_domains: Collection[str] = (),
    task_models: Mapping[str, Any] | None = None,
    breakdown: bool = True,
    progress: Progress = "none",
    strict: bool = False,
    max_requests: int = 64,
    max_requests_per_key: int | None = None,
    max_body_bytes: int = 16 * MEBIBYTE,
    max_messages: int = 2048,
    timeout: float = 600.0,
    read_timeout: float = 60.0,
    write_timeout: float = 30.0,
    ping: float = 15.0,
) -> Endpoint:
    """Create an ASGI application that makes mixtures available to clients of OpenAI's API.

    It has the paths `/v1/chat/completions`, `/v1/responses`, `/v1/models`, `/health`, `/ready` and `/metrics`. It runs under
    any ASGI server, and you can mount it in your own application. Mixtures run on event loops in background threads.

    Args:
        mixtures: The mixtures by model name. A single mixture gets the name `moa`.
        api_keys: Keys of 16 characters or more, as `key` or `name: key`; clients must send one of them. Default: no key is
            needed.
        allowed_hosts: The host names (`Host`) that requests may use. Default: any.
        cors_origins: Origins of web pages that may use the server, such as `https://chat.example.com`. Default: none.
        link_domains: Domains from which providers may fetch images and files linked in messages, over https. Default: none, so
            clients must send `data:` URLs.
        task_models: A model (`provider:model`, or a chat model) for small tasks, by mixture name. Its model name is
            `name#task`.
        breakdown: Whether to send clients the calls behind an answer (`moa`), and the failed members and reasons in errors.
        progress: `reasoning` to stream the progress of the members as reasoning text, or `none`. The request header
            `x-moa-progress` takes precedence.
        strict: Whether to reject unknown parameters. Default: they are ignored and listed in the header `x-moa-ignored`.
        max_requests: The maximum number of concurrent answers. Further requests get a 429.
        max_requests_per_key: The maximum number of concurrent answers per API key. Default: only `max_requests` applies.
        max_body_bytes: The maximum size of a request in bytes, including images.
        max_messages: The maximum number of messages of a conversation, and of their content parts and tool calls.
        timeout: The time limit of a request, in seconds.
        read_timeout: The time limit for receiving a request's body, in seconds.
        write_timeout: The time limit for a client to read each part of an answer, in seconds.
        ping: The number of seconds without an event after which a stream sends a comment to keep the connection open.

    Returns:
        The application.

    Raises:
        ImportError: A package of the extra `serve` is missing; the message has the pip command.
        ValueError: There is no mixture, a key or an origin is invalid, a text is given for a list, or a limit is not positive.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.serving import make_app

        app = make_app({"fast": ChatMoA.from_preset("local", num_layers=1)})  # uvicorn module:app
        ```
    """
    if progress not in ("none", "reasoning"):
        msg = f"progress: {progress!r} is unknown; give 'none' or 'reasoning'"
        raise ValueError(msg)
    for name, given in (("allowed_hosts", allowed_hosts), ("cors_origins", cors_origins), ("link_domains", link_domains)):
        if isinstance(given, str):
            msg = f"{name}: give a list, [{given!r}]"
            raise ValueError(msg)  # noqa: TRY004  # as for all other arguments
    for origin in cors_origins:
        _check_origin(origin)
    limits = Limits(
        max_requests=max_requests,
        max_requests_per_key=max_requests_per_key,
        max_body_bytes=max_body_bytes,
        max_messages=max_messages,
        timeout=timeout,
        read_timeout=read_timeout,
        write_timeout=write_timeout,
        ping=ping,
    )
    served = _serve(mixtures, task_models or {}, breakdown=breakdown)
    links = Links(frozenset(domain.lower().strip(".") for domain in link_domains))
    keys = ApiKeys.of(api_keys)
    routes = Routes(served, limits, links=links, breakdown=breakdown, progress=progress, strict=strict)
    return Endpoint(routes, keys, hosts=allowed_hosts, origins=cors_origins)


def _check_origin(origin: str) -> None:
    # Browsers send it without a path, not even a slash, and in lower case.
    scheme, _, rest = origin.partition("://")
    if origin not in ("*", "null") and (not scheme or not rest or "/" in rest or origin != origin.lower()):
        msg = f"cors_origins: {origin!r} is not an origin; write it in lower case and without a path: https://chat.example.com"
        raise ValueError(msg)


class Endpoint:
    """The ASGI application, with methods for shutting it down.

    Attributes:
        is_draining: Whether new requests are rejected.
        running: The number of answers in progress.
    """

    def __init__(self, routes: Routes, keys: ApiKeys, *, hosts: Collection[str] | None, origins: Collection[str]) -> None:
        """Create the application; use `make_app` instead."""
        self._places = routes.places
        middleware = [Middleware(_Authentication, keys=keys)]
        if hosts is not None:
            # Protects against DNS rebinding: requests of such a web page have its host name.
            middleware.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts), www_redirect=False))
        if origins:
            exposed = ["x-request-id", "x-moa-ignored", "x-should-retry", "retry-after"]
            cors = Middleware(
                CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"], expose_headers=exposed
            )
            middleware.insert(0, cors)
        app = Starlette(
            routes=[
                Route("/health", routes.health, methods=["GET"]),
                Route("/ready", routes.ready, methods=["GET"]),
                Route("/metrics", routes.metrics_page, methods=["GET"]),
                Route("/v1/models", routes.models, methods=["GET"]),
                Route("/v1/models/{name:path}", routes.model, methods=["GET"]),
                Route("/v1/chat/completions", routes.chat, methods=["POST"]),
                Route("/v1/responses", routes.responses, methods=["POST"]),
            ],
            middleware=middleware,
            exception_handlers={
                ApiError: answer_api_error,
                ClientGoneError: _answer_closed,
                HTTPException: answer_http_error,
                Exception: answer_unexpected,
            },
        )
        self._app = AccessLog(app, routes.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self._app(scope, receive, send)

    @property
    def is_draining(self) -> bool:
        """Whether new requests are rejected."""
        return self._places.is_draining

    @property
    def running(self) -> int:
        """The number of answers in progress."""
        return self._places.taken

    def drain(self) -> None:
        """Reject new requests with a 503, including `/ready`. Answers in progress continue."""
        self._places.drain()

    def expire(self) -> None:
        """End the answers in progress with a 503."""
        self._places.drain()
        self._places.expire()


class _Authentication:
    """Rejects requests without a valid key, and stores the key's name in the request's record."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in _PUBLIC:
            try:
                record_of(scope).owner = self._keys.owner_of(Headers(scope=scope))
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _serve(
    mixtures: ChatMoA | Mapping[str, ChatMoA], task_models: Mapping[str, Any], *, breakdown: bool
) -> dict[str, ServedMixture]:
    named: dict[str, Any] = {"moa": mixtures} if isinstance(mixtures, ChatMoA) else dict(mixtures)
    if not named:
        msg = "mixtures: give at least one, as {'name': ChatMoA(...)}"
        raise ValueError(msg)
    for name in task_models:
        if name not in named:
            msg = f"task_models: there is no mixture {name!r}; there are {', '.join(named)}"
            raise ValueError(msg)
    served: dict[str, ServedMixture] = {}
    for name, mixture in named.items():
        if not isinstance(mixture, ChatMoA):
            msg = f"mixtures: {name!r} is a {type(mixture).__name__}; give a ChatMoA"
            raise ValueError(msg)  # noqa: TRY004  # an invalid setting is a ValueError
        served[name] = ServedMixture(name, mixture, breakdown=breakdown)
    aliases: dict[str, ServedMixture] = {}
    for name, mixture in served.items():
        aliases |= mixture.aliases(task_models.get(name))
    return {**aliases, **served}


async def _answer_closed(request: Request, _: Exception) -> Response:
    """Return a response for a client that closed the connection. It is not sent."""
    record_of(request.scope).status = CLIENT_GONE
    return Response(status_code=CLIENT_GONE)
