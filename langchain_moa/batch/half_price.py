"""`--half-price`: calls go into the batch jobs of their providers, by a transport below the clients of the SDKs."""

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
from langchain_moa.batch.calls import digest
from langchain_moa.batch.job_apis import AnthropicJobs, GroqJobs, JobApi, JobRequest, OpenAIJobs, TogetherJobs
from langchain_moa.batch.limits import HaltedError
from langchain_moa.batch.pace import provider_of
from langchain_moa.data.redaction import describe
from langchain_moa.data.usage import cost_usd
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
"""The fields of a mixture that mean nothing where an answer takes hours."""

SHARE = 0.5
"""What a call in a job costs, as a share of its price."""

_logger = logging.getLogger("langchain_moa")

# The lines of jobs that the running call has had answered.
_lines: ContextVar[list[str]] = ContextVar("lines of jobs")


def without_limits(mixture: Mixture) -> Mixture:
    """Return a copy of a mixture without the limits in time and in calls at once."""
    given = [name for name in OFF if getattr(mixture, name) is not None]
    return mixture.model_copy(update=dict.fromkeys(given)) if given else mixture


def jobs_of(model: Any) -> JobApi | None:
    """Return the batch jobs that a chat model's calls can go into; `None` if there are none.

    Args:
        model: A chat model, or anything else.
    """
    client = sdk_client(model)
    # A line of a job has no place for the parameters in the addresses of Azure, whose own batches are another API.
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
    """Return the package of an object's class."""
    return type(thing).__module__.partition(".")[0]


class HalfPrice:
    """The members of a mixture whose calls go into batch jobs."""

    def __init__(self, queue: JobQueue, *, concurrency: int) -> None:
        """Take what gathers the calls.

        Args:
            queue: Gathers them.
            concurrency: How many calls run at once at providers that have no jobs.
        """
        self.queue = queue
        self.direct_calls = CallLimiter(concurrency)
        self._callables: dict[int, asyncio.Task[_Callable]] = {}
        self._opening: dict[str, asyncio.Task[bool]] = {}

    def applied(self, mixture: Mixture) -> Mixture:
        """Return a copy of a mixture whose members' calls go into jobs.

        Args:
            mixture: The mixture, as `without_limits` returns it.
        """
        return mixture.with_members(mixture.members.changed(self._changed))

    def _changed(self, member: Member) -> Member:
        if isinstance(member.runnable, NoAggregator):
            return member
        # A line that fails in passing goes into the next job; a second loop around that would take days.
        retry = member.retry if jobs_of(member.chat_model) is None else None
        runnable = HalfPriceRunnable(bound=member.runnable, half_price=self, member=member)
        return replace(member, runnable=runnable, retry=retry, fallbacks=tuple(map(self._changed, member.fallbacks)))

    async def callable_of(self, member: Member) -> _Callable:
        """Return what to call for a member on the running loop."""
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
        """Tell whether a provider has jobs, and begin to look after those of earlier processes."""
        try:
            await api.probe()
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises
            if is_retryable(error):
                # Direct calls would cost twice what was asked for.
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
    """What is called for a member.

    Attributes:
        runnable: The Runnable.
        is_async: Whether by its async side.
        has_jobs: Whether its calls go into jobs.
    """

    runnable: Any
    is_async: bool
    has_jobs: bool


def _with_model(runnable: Runnable[Any, Any], model: Any) -> Any:
    """Return a binding with another model inside, or, without another model, the one inside."""
    if isinstance(runnable, RunnableBindingBase):
        inner = _with_model(runnable.bound, model)
        return inner if model is None else runnable.model_copy(update={"bound": inner})
    return runnable if model is None else model


class HalfPriceRunnable(RunnableBindingBase[Any, Any]):
    """A member's Runnable whose calls wait for a batch job, if its provider has jobs."""

    # The copy for the running loop is made in the first call, with a transport of ours.
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
        # The lines are forgotten after this step of the task, in which the answer is written into the journal.
        for line in lines:
            asyncio.get_running_loop().call_soon(half_price.queue.taken, line)
        return self._at_half_price(message) if lines else message

    def _at_half_price(self, message: Any) -> Any:
        if not isinstance(message, AIMessage) or message.usage_metadata is None:
            return message
        price = cost_usd(self.member.id, message.usage_metadata)
        if price is None:
            return message
        return message.model_copy(update={"response_metadata": {**message.response_metadata, "cost_usd": SHARE * price}})


def _halted(error: BaseException | None) -> HaltedError | None:
    """Return the error that says that the run is to end, which SDKs wrap into errors of theirs."""
    while error is not None and not isinstance(error, HaltedError):
        error = error.__cause__
    return error


def _client(api: JobApi, transport: _JobTransport) -> Any:
    """Return a copy of an SDK's client that sends its calls by a transport of ours, without a time limit."""
    http_client = import_module(_package(api.client)).DefaultAsyncHttpxClient(transport=transport, trust_env=False)
    return api.client.copy(http_client=http_client, max_retries=0, timeout=None)


class _JobTransport:
    """A transport of httpx: what it is asked to send waits for a job, and the job's result is the response."""

    def __init__(self, queue: JobQueue, provider: str, api: JobApi) -> None:
        self._queue = queue
        self._provider = provider
        self._api = api

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def aclose(self) -> None:
        """Close nothing: the jobs have a client of their own."""

    async def handle_async_request(self, request: Any) -> Any:
        """Return a response when a job has it."""
        # The SDKs differ in the version of their HTTP client.
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
