"""The routes of the application, and the handling of requests of both APIs."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread
from anyio import CapacityLimiter
from openai.types import Model
from pydantic_core import from_json
from starlette.responses import JSONResponse, Response

from langchain_moa.serving.chat import ChatRequest, ChatWriter
from langchain_moa.serving.errors import ApiError, ClientGoneError, failure, shutting_down
from langchain_moa.serving.limits import Places, check_counts, read_body
from langchain_moa.serving.metrics import CLIENT_GONE, Metrics, record_of
from langchain_moa.serving.mixtures import FinalAnswer
from langchain_moa.serving.parameters import ignored_header, shown_name
from langchain_moa.serving.response_events import ResponsesWriter
from langchain_moa.serving.responses import ResponsesRequest, in_own_names
from langchain_moa.serving.streaming import EventStream, attended, encode_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from langchain_moa.serving.binding import Bound
    from langchain_moa.serving.conversation import Links
    from langchain_moa.serving.limits import Limits
    from langchain_moa.serving.mixtures import ServedMixture
    from langchain_moa.serving.parameters import Prompting

Progress = Literal["none", "reasoning"]

# Longer bodies, in bytes, are parsed in a thread, so that they do not block the event loop.
_LONG = 32 << 10


class Routes:
    """The routes of the application."""

    def __init__(
        self,
        served: Mapping[str, ServedMixture],
        limits: Limits,
        *,
        links: Links,
        breakdown: bool,
        progress: Progress,
        strict: bool,
    ) -> None:
        self.places = Places(limits)
        self.metrics = Metrics()
        self._served = served
        self._limits = limits
        self._links = links
        self._breakdown = breakdown
        self._progress = progress
        self._strict = strict
        self._started = int(time())
        self._parsing: CapacityLimiter | None = None
        self._turns: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def health(self, _: Request) -> Response:
        """Return 200 while the process runs."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Return 200 if the server accepts requests, 503 during a shutdown."""
        if self.places.is_draining:
            raise shutting_down()
        return JSONResponse({"status": "ready"})

    async def metrics_page(self, _: Request) -> Response:
        """Return the metrics in Prometheus's text format."""
        return self.metrics.response()

    async def models(self, request: Request) -> Response:
        """List the models."""
        with_aliases = request.query_params.get("aliases", "").lower() in {"1", "true", "yes"}
        names = [name for name, mixture in self._served.items() if with_aliases or not mixture.is_alias]
        return JSONResponse({"object": "list", "data": [self._described(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """Describe a model."""
        name = request.path_params["name"]
        self._find(name)
        return JSONResponse(self._described(name))

    async def chat(self, request: Request) -> ASGIApp:
        """Answer a request for a chat completion."""
        return await self._answer(request, "messages", ChatRequest, ChatWriter)

    async def responses(self, request: Request) -> ASGIApp:
        """Answer a request for a response."""
        return await self._answer(request, "input", ResponsesRequest, ResponsesWriter)

    async def _answer(self, request: Request, key: str, read: Any, write: Any) -> ASGIApp:
        """Parse a request of one of the APIs, and return the ASGI application that answers it."""
        until = asyncio.get_running_loop().time() + self._limits.timeout
        if self.places.is_draining:
            raise shutting_down()
        record = record_of(request.scope)
        content = await read_body(request, self._limits)

        def parse() -> tuple[ChatRequest | ResponsesRequest, list[str], ServedMixture, Prompting, Bound]:
            body = _from_json(content)
            check_counts(body, key, self._limits)
            asked, ignored = read.read(body, strict=self._strict)
            mixture = self._find(asked.model)
            try:
                prompting = asked.prompting(record.owner, self._links)
                return asked, ignored, mixture, prompting, mixture.bound(prompting)
            except ApiError as error:
                raise (in_own_names(error) if read is ResponsesRequest else error) from None

        await self._turn()
        if len(content) <= _LONG:
            asked, ignored, mixture, prompting, bound = parse()
        else:
            self._parsing = self._parsing or CapacityLimiter(1)
            asked, ignored, mixture, prompting, bound = await anyio.to_thread.run_sync(parse, limiter=self._parsing)
        record.mixture, record.ignored = mixture.name, ignored
        progress = request.headers.get("x-moa-progress", self._progress).strip().lower() == "reasoning"
        writer = write(asked, breakdown=self._breakdown, progress=progress)
        headers = ignored_header(ignored)
        return _Answering(self, mixture=mixture, prompting=prompting, bound=bound, writer=writer, headers=headers, until=until)

    async def _turn(self) -> None:
        """Wait for a turn of the event loop in which no other request starts.

        Otherwise, requests that arrive together would all start in one turn and block the loop.
        """
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns[0] is not loop:
            # An application can run on several event loops, one after another.
            self._turns = loop, asyncio.Lock()
        async with self._turns[1]:
            await asyncio.sleep(0)

    def _find(self, name: str) -> ServedMixture:
        if name not in self._served:
            known = ", ".join(each for each, mixture in self._served.items() if not mixture.is_alias)
            msg = f"there is no model {shown_name(name)!r} here; available are {known}"
            raise ApiError(404, msg, code="model_not_found", param="model")
        return self._served[name]

    def _described(self, name: str) -> dict[str, Any]:
        model = Model(id=name, object="model", created=self._started, owned_by="langchain-moa")
        return model.model_dump(mode="json", exclude_unset=True)

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        return self._limits

    def failed(self, error: Exception) -> ApiError:
        """Return the error for the client after an error of a mixture."""
        return failure(error, breakdown=self._breakdown)


class _Answering:
    """An ASGI application that answers one request, and counts as an answer in progress meanwhile."""

    def __init__(
        self,
        routes: Routes,
        *,
        mixture: ServedMixture,
        prompting: Prompting,
        bound: Bound,
        writer: ChatWriter | ResponsesWriter,
        headers: Mapping[str, str],
        until: float,
    ) -> None:
        self._routes = routes
        self._mixture = mixture
        self._prompting = prompting
        self._writer = writer
        self._headers = headers
        self._until = until
        self._bound = bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record, limits = record_of(scope), self._routes.limits
        with self._routes.places.held(record.owner), self._routes.metrics.running.track_inprogress():
            run = self._mixture.run(self._prompting, self._bound, lambda calls: setattr(record, "calls", calls))
            if not self._prompting.stream:
                work = self._outcome(run)
                outcome = await attended(receive, work, places=self._routes.places, until=self._until, limits=limits)
                content = encode_json(self._writer.whole(outcome))
                await Response(content, headers=self._headers, media_type="application/json")(scope, receive, send)
                return
            stream = EventStream(self._events(run), self._writer, limits)
            try:
                error = await stream.send(receive, send, places=self._routes.places, until=self._until, headers=self._headers)
            except ClientGoneError:
                record.status = CLIENT_GONE
            else:
                record.status = None if error is None else error.status

    async def _outcome(self, run: AsyncGenerator[Any]) -> FinalAnswer:
        found: FinalAnswer | None = None
        try:
            async for item in run:
                if isinstance(item, FinalAnswer):
                    found = item
        except Exception as error:  # noqa: BLE001  # clients get every error in OpenAI's format
            raise self._routes.failed(error) from None
        assert found is not None  # noqa: S101  # a run without an error yields a final answer
        return found

    async def _events(self, run: AsyncGenerator[Any]) -> AsyncGenerator[Mapping[str, Any]]:
        try:
            for event in self._writer.start():
                yield event
            async for item in run:
                for event in self._writer.write(item, by_tool=self._bound.by_tool):
                    yield event
        except Exception as error:  # noqa: BLE001  # clients get every error in OpenAI's format
            raise self._routes.failed(error) from None
        finally:
            await run.aclose()


def _from_json(content: bytes) -> dict[str, Any]:
    try:
        body = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        # The message has the position and does not quote the content.
        msg = f"the body is not JSON: {error}"
        raise ApiError(400, msg, code="invalid_json") from None
    if not isinstance(body, dict):
        msg = "the body must be a JSON object"
        raise ApiError(400, msg, code="invalid_type")
    return body
