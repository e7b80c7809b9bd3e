"""`--half-price`: send calls as batch jobs of their providers, through an HTTP transport of the SDKs' clients."""

from __future__ import annotations

import asyncio
import json
import logging
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from langchain_core.messages import AIMessage
from langchain_core.runnables.base import RunnableBindingBase
from typing_extensions import override

from langchain_moa._compat import copy_for_loop, sdk_client, tracing_params, with_sdk_client
from langchain_moa.batch.anthropic_jobs import AnthropicJobs
from langchain_moa.batch.calls import digest
from langchain_moa.batch.job_apis import GroqJobs, JobApi, JobRequest, OpenAIJobs, TogetherJobs
from langchain_moa.batch.limits import HaltedError
from langchain_moa.batch.pace import provider_of
from langchain_moa.data.redaction import describe
from langchain_moa.data.usage import cost_usd, with_counts
from langchain_moa.limits.concurrency import CallLimiter
from langchain_moa.limits.portal import in_worker
from langchain_moa.limits.retry import is_retryable
from langchain_moa.members.clients import callable_here, clients_here
from langchain_moa.members.member import NoAggregator

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_moa.batch.job_queue import JobQueue
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

OFF = ("proposer_timeout", "deadline", "quorum", "max_concurrency")
"""The fields of a mixture that are disabled because an answer may take hours."""

SHARE = 0.5
"""The price of a call in a batch job, as a share of the normal price."""

_logger = logging.getLogger("langchain_moa")

# The ids of the job lines whose results the current call has received.
_lines: ContextVar[list[str]] = ContextVar("lines of jobs")


def without_limits(mixture: Mixture) -> Mixture:
    """Return a copy of a mixture without timeouts, quorum and concurrency limits."""
    given = [name for name in OFF if getattr(mixture, name) is not None]
    return mixture.model_copy(update=dict.fromkeys(given)) if given else mixture


def jobs_of(model: Any) -> JobApi | None:
    """Return the batch API for a chat model's calls, or `None` if there is none.

    Args:
        model: A chat model, or any other object.
    """
    client = sdk_client(model)
    # A line of a job has no place for the query parameters of Azure's URLs. Azure's own batches are another API.
    if client is None or client.default_query:
        return None
    match _package(client):
        case "anthropic":
            return AnthropicJobs(client)
        case "groq":
            return GroqJobs(client)
    if tracing_params(model).get("ls_provider") == "together" or client.base_url.host.endswith(_TOGETHER):
        return TogetherJobs(client)
    return OpenAIJobs(client)


_TOGETHER = ("together.ai", "together.xyz")


def _package(thing: Any) -> str:
    """Return the top-level package of an object's class."""
    return type(thing).__module__.partition(".")[0]


class HalfPrice:
    """Sends the calls of a mixture's members as batch jobs."""

    def __init__(self, queue: JobQueue, *, concurrency: int) -> None:
        """Create it for a queue.

        Args:
            queue: The queue that collects the calls.
            concurrency: The maximum number of concurrent calls to providers without batch jobs.
        """
        self.queue = queue
        self.direct_calls = CallLimiter(concurrency)
        self._callables: dict[int, asyncio.Task[_Callable]] = {}
        self._opening: dict[str, asyncio.Task[bool]] = {}

    def applied(self, mixture: Mixture) -> Mixture:
        """Return a copy of a mixture whose calls are sent as batch jobs.

        Args:
            mixture: The mixture, as `without_limits` returns it.
        """
        return mixture.with_members(mixture.members.changed(self._changed))

    def _changed(self, member: Member) -> Member:
        if isinstance(member.runnable, NoAggregator):
            return member
        # The queue puts a line with a transient error into the next job; retrying on top of that would take days.
        retry = member.retry if jobs_of(member.chat_model) is None else None
        runnable = HalfPriceRunnable(bound=member.runnable, half_price=self, member=member)
        return replace(member, runnable=runnable, retry=retry, fallbacks=tuple(map(self._changed, member.fallbacks)))

    async def callable_of(self, member: Member) -> _Callable:
        """Return the Runnable to call for a member on the running event loop."""
        task = self._callables.get(id(member))
        if task is None:
            task = self._callables[id(member)] = asyncio.create_task(self._make(member))
        return await asyncio.shield(task)

    async def _make(self, member: Member) -> _Callable:
        model = member.chat_model
        clients = await clients_here()
        here = None if model is None else copy_for_loop(model, clients.get, clients.on_close)
        api = jobs_of(here)
        if model is not None and here is not None and api is not None and _with_model(member.runnable, None) is model:
            provider = provider_of(member)
            if provider not in self._opening:
                self._opening[provider] = asyncio.create_task(self._open(provider, api))
            if await self._opening[provider]:
                changed = here.model_copy(update={"disable_streaming": True})
                waiting = with_sdk_client(changed, _client(api, _JobTransport(self.queue, provider, api)))
                return _Callable(_with_model(member.runnable, waiting), is_async=True, has_jobs=True)
        self.queue.direct.add(member.id)
        return _Callable(*await callable_here(member.runnable), has_jobs=False)

    async def _open(self, provider: str, api: JobApi) -> bool:
        """Return whether a provider has batch jobs, and resume following those of earlier processes."""
        try:
            await api.probe()
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises
            if is_retryable(error):
                # Direct calls would cost twice as much as the user asked for.
                why = f"{provider} does not say whether it has batch jobs: {describe(error)['message']}; try again later"
                self.queue.give_up("failures", why)
                raise HaltedError(why) from None
            _logger.info("%s has no batch jobs (%s): it is asked directly", provider, type(error).__name__)
            return False
        try:
            await self.queue.open(provider, api)
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises
            why = f"the jobs of earlier runs at {provider} cannot be found: {describe(error)['message']}; try again later"
            self.queue.give_up("failures", why)
            raise HaltedError(why) from None
        return True


class _Callable(NamedTuple):
    """The Runnable to call for a member.

    Attributes:
        runnable: The Runnable.
        is_async: Whether to call its async method.
        has_jobs: Whether its calls are sent as batch jobs.
    """

    runnable: Any
    is_async: bool
    has_jobs: bool


def _with_model(runnable: Runnable[Any, Any], model: Any) -> Any:
    """Return a copy of a binding with another inner model. If `model` is `None`, return the inner model instead."""
    if isinstance(runnable, RunnableBindingBase):
        inner = _with_model(runnable.bound, model)
        return inner if model is None else runnable.model_copy(update={"bound": inner})
    return runnable if model is None else model


class HalfPriceRunnable(RunnableBindingBase[Any, Any]):
    """A member's Runnable that sends its calls as batch jobs, if its provider has them."""

    # The copy for the running loop is created in the first call, with our own transport.
    any_loop: ClassVar[bool] = True

    half_price: Any
    member: Any

    @override
    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        half_price: HalfPrice = self.half_price
        half_price.queue.begun()
        lines: list[str] = []
        token = _lines.set(lines)
        try:
            called = await half_price.callable_of(self.member)
            if called.has_jobs:
                message = await called.runnable.ainvoke(input, config, **kwargs)
            else:
                async with half_price.direct_calls.taken():
                    if called.is_async:
                        return await called.runnable.ainvoke(input, config, **kwargs)
                    return await in_worker(partial(called.runnable.invoke, input, config, **kwargs))
        except Exception as error:
            for line in lines:
                half_price.queue.taken(line)
            if (halted := _halted(error)) is not None:
                raise halted from None
            raise
        finally:
            _lines.reset(token)
            half_price.queue.ended()
        # Remove the lines only after this step of the task, in which the answer is recorded in the journal.
        for line in lines:
            asyncio.get_running_loop().call_soon(half_price.queue.taken, line)
        return self._at_half_price(message) if lines else message

    def _at_half_price(self, message: Any) -> Any:
        if not isinstance(message, AIMessage):
            return message
        message = with_counts(message)
        if message.usage_metadata is None:
            return message
        price = cost_usd(self.member.id, message.usage_metadata)
        if price is None:
            return message
        return message.model_copy(update={"response_metadata": {**message.response_metadata, "cost_usd": SHARE * price}})


def _halted(error: BaseException | None) -> HaltedError | None:
    """Return the `HaltedError` in a chain of causes: SDKs wrap it into their own errors."""
    while error is not None and not isinstance(error, HaltedError):
        error = error.__cause__
    return error


def _client(api: JobApi, transport: _JobTransport) -> Any:
    """Return a copy of an SDK's client that uses our transport and has no timeout."""
    http_client = import_module(_package(api.client)).DefaultAsyncHttpxClient(transport=transport, trust_env=False)
    return api.client.copy(http_client=http_client, max_retries=0, timeout=None)


class _JobTransport:
    """An httpx transport that puts each request into a batch job and returns the job's result as the response."""

    def __init__(self, queue: JobQueue, provider: str, api: JobApi) -> None:
        self._queue = queue
        self._provider = provider
        self._api = api

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def aclose(self) -> None:
        """Do nothing: the job API has its own client."""

    async def handle_async_request(self, request: Any) -> Any:
        """Wait until a job has answered the request, and return the response."""
        # The SDKs use different versions of httpx.
        http = import_module(_package(request))
        content = await request.aread()
        endpoint = self._api.endpoint(request.url.path)
        if request.method != "POST" or endpoint is None or request.url.query:
            msg = f"{request.method} {request.url.path} cannot go into a batch job"
            raise http.UnsupportedProtocol(msg)
        body = json.loads(content)
        body.pop("stream", None)
        call = JobRequest("", digest([self._provider, endpoint, body]), endpoint, body)
        status, text, line = await self._queue.answer(self._provider, call)
        _lines.get().append(line)
        return http.Response(status, headers={"content-type": "application/json"}, content=text.encode(), request=request)
