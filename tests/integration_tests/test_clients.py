"""A model works in every event loop and in sync code at the same time, with an HTTP client for each loop."""

from __future__ import annotations

import asyncio
import gc
import http.client
import sqlite3
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from openai import DEFAULT_CONNECTION_LIMITS, DefaultAsyncHttpxClient
from pydantic import Field, SecretStr

from langchain_moa import ChatMoA
from langchain_moa.limits.portal import is_on_portal
from tests.loopback import Loopback, Reply
from tests.providers import ProviderServer, fixtures, member
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from langchain_core.messages import BaseMessage

# Fixtures for pytest.
providers = fixtures.providers

PACKAGES = ("openai", "together", "anthropic", "ollama", "cohere", "groq")
ROUNDS = 8
THREADS = 4


class Models:
    """Models of one package at a server on this machine, with the clients that the package makes."""

    def __init__(self, package: str, loopback: Loopback, providers: ProviderServer) -> None:
        self._package = package
        self._loopback = loopback
        self._providers = providers

    def make(self) -> BaseChatModel:
        """Return a new model."""
        match self._package:
            case "openai":
                return chat_openai(self._loopback)
            case "together":
                return ChatTogether(base_url=self._loopback.url, api_key=SecretStr("test"), model="b", max_retries=0)
            case package:
                return member(self._providers, package)

    @property
    def connections(self) -> int:
        """The number of open connections at the servers."""
        return len(self._loopback.connections) + len(self._providers._sockets)


@pytest.fixture(params=PACKAGES)
def models(request: pytest.FixtureRequest, loopback: Loopback, providers: ProviderServer) -> Models:
    return Models(request.param, loopback, providers)


def chat_openai(loopback: Loopback, **settings: Any) -> ChatOpenAI:
    """Return a model that makes its own clients, unlike `Loopback.chat`."""
    return ChatOpenAI(**{"base_url": loopback.url, "api_key": "test", "model": "a", "max_retries": 0, **settings})


def statuses(answer: AIMessage) -> list[str]:
    """Return the status of each reference of an answer."""
    return [each["status"] for layer in answer.response_metadata["moa"]["layers"] for each in layer]


def mixture_of(*proposers: Any, aggregator: Any, **fields: Any) -> ChatMoA:
    return ChatMoA(proposers=list(proposers), aggregator=aggregator, num_layers=1, **fields)


def ask_both_ways(moa: ChatMoA, **config: Any) -> Iterator[AIMessage]:
    """Ask in sync code, and in an event loop."""
    yield moa.invoke("Hi", **config)
    yield asyncio.run(moa.ainvoke("Hi", **config))


# --- one model for all ---


def test_a_model_is_used_in_turns(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model)
    with asyncio.Runner() as runner:
        for _ in range(3):
            assert statuses(moa.invoke("Hi")) == ["ok", "ok"]
            assert statuses(runner.run(moa.ainvoke("Hi"))) == ["ok", "ok"]
            assert model.invoke("Hi").text
            assert runner.run(model.ainvoke("Hi")).text


async def test_a_model_is_used_at_once(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model)
    calls: list[Coroutine[Any, Any, AIMessage]] = []
    for _ in range(4):
        calls += [asyncio.to_thread(moa.invoke, "Hi"), moa.ainvoke("Hi")]
        calls += [asyncio.to_thread(model.invoke, "Hi"), model.ainvoke("Hi")]
    answers = await asyncio.gather(*calls)
    assert all(answer.text for answer in answers)
    mixed = [answer for answer in answers if "moa" in answer.response_metadata]
    assert [statuses(answer) for answer in mixed] == [["ok", "ok"]] * 8


def test_one_loop_after_another(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model)
    for _ in range(ROUNDS):
        assert statuses(asyncio.run(moa.ainvoke("Hi"))) == ["ok", "ok"]


def test_one_loop_after_another_streams(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model)

    async def stream() -> str:
        return "".join([chunk.text async for chunk in moa.astream("Hi")])

    texts = {asyncio.run(stream()) for _ in range(3)} | {"".join(chunk.text for chunk in moa.stream("Hi"))}
    assert all(texts)


def test_loops_in_several_threads(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model)
    barrier = threading.Barrier(THREADS)

    async def ask() -> list[AIMessage]:
        barrier.wait(PATIENCE)
        return [await moa.ainvoke("Hi"), *(await asyncio.gather(moa.ainvoke("Hi"), moa.ainvoke("Hi")))]

    with ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(lambda _: asyncio.run(ask()), range(THREADS)))
    assert [statuses(answer) for each in answers for answer in each] == [["ok", "ok"]] * (3 * THREADS)


def test_connections_are_closed_with_the_loop(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model)

    async def ask() -> int:
        await moa.ainvoke("Hi")
        return models.connections

    assert asyncio.run(ask()) > 0  # kept for the next call
    until(lambda: models.connections == 0, lambda: f"the end of {models.connections} connections")


def test_a_loop_that_has_ended_is_forgotten(models: Models) -> None:
    model = models.make()
    moa = mixture_of(model, model, aggregator=model, max_concurrency=2)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def ask() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await moa.ainvoke("Hi")

    for _ in range(4):
        asyncio.run(ask())
    gc.collect()
    # The latest one may be kept until the next one arrives.
    assert [loop() for loop in loops[:-1]] == [None] * 3


def test_a_loop_keeps_its_connections(loopback: Loopback) -> None:
    model = chat_openai(loopback)
    moa = mixture_of(model, model, aggregator=model)

    async def ask() -> None:
        for _ in range(ROUNDS):
            await moa.ainvoke("Hi")

    asyncio.run(ask())
    assert len(loopback.requests) == 3 * ROUNDS
    assert len({request.connection for request in loopback.requests}) == 2


# --- what the user has given ---


def test_an_http_client_of_the_users_is_kept(loopback: Loopback) -> None:
    sent: list[str] = []

    async def note(request: Any) -> None:
        sent.append(request.url.path)

    # It is used in two loops here, so it must not keep a connection.
    client = DefaultAsyncHttpxClient(
        event_hooks={"request": [note]}, limits=type(DEFAULT_CONNECTION_LIMITS)(max_keepalive_connections=0)
    )
    model = chat_openai(loopback, http_async_client=client)
    moa = mixture_of(model, model, aggregator=model)
    for number, answer in enumerate(ask_both_ways(moa), start=1):
        assert statuses(answer) == ["ok", "ok"]
        assert len(sent) == 3 * number
    assert not client.is_closed
    assert model.http_async_client is client


class Counting(httpx.AsyncHTTPTransport):
    """A transport that counts its requests."""

    count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.count += 1
        return await super().handle_async_request(request)


def test_a_transport_of_the_users_is_kept(providers: ProviderServer) -> None:
    transport = Counting()
    model = member(providers, "ollama", async_client_kwargs={"transport": transport})
    moa = mixture_of(model, model, aggregator=model)
    assert statuses(asyncio.run(moa.ainvoke("Hi"))) == ["ok", "ok"]
    assert transport.count == 3


class Proxy:
    """An HTTP proxy that records the addresses it is sent to."""

    def __init__(self) -> None:
        self.hosts: Counter[str] = Counter()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                target = urlsplit(self.path)
                proxy.hosts[target.netloc] += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {
                    name: self.headers[name] for name in ("content-type", "authorization", "x-api-key") if name in self.headers
                }
                with closing(http.client.HTTPConnection(target.netloc, timeout=PATIENCE)) as onward:
                    onward.request("POST", target.path, body, {**headers, "anthropic-version": "2023-06-01"})
                    answer = onward.getresponse()
                    data = answer.read()
                self.send_response(answer.status)
                self.send_header("content-type", answer.headers["content-type"])
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("package", ["openai", "anthropic", "ollama"])
def test_a_proxy_of_the_users_is_kept(package: str, loopback: Loopback, providers: ProviderServer) -> None:
    with Proxy() as proxy:
        match package:
            case "openai":
                model: BaseChatModel = chat_openai(loopback, openai_proxy=proxy.url)
            case "anthropic":
                model = member(providers, "anthropic", anthropic_proxy=proxy.url)
            case _:
                model = member(providers, "ollama", client_kwargs={"proxy": proxy.url})
        moa = mixture_of(model, model, aggregator=model)
        for number, answer in enumerate(ask_both_ways(moa), start=1):
            assert statuses(answer) == ["ok", "ok"]
            assert proxy.hosts.total() == 3 * number


# --- what cannot be copied ---


class SyncOnly(BaseChatModel):
    """A model with a sync method only, which records where it was called."""

    called: list[tuple[threading.Thread, bool]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "sync-only"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.called.append((threading.current_thread(), is_on_portal()))
        return ChatResult(generations=[ChatGeneration(message=AIMessage("from the sync side"))])


class BothSides(SyncOnly):
    """A model of an unknown package, with sync and async methods."""

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.called.append((threading.current_thread(), is_on_portal()))
        return ChatResult(generations=[ChatGeneration(message=AIMessage("from the async side"))])


def test_a_sync_model_is_called_in_worker_threads() -> None:
    model = SyncOnly()
    moa = mixture_of(model, model, aggregator=model)
    for answer in ask_both_ways(moa):
        assert statuses(answer) == ["ok", "ok"]
        assert answer.text == "from the sync side"
    assert len(model.called) == 6
    assert all(thread is not threading.main_thread() and not on_portal for thread, on_portal in model.called)


def test_a_model_of_an_unknown_package_is_called_by_the_side_of_its_caller() -> None:
    # Its async client may belong to the caller's loop rather than to the loop for sync code.
    model = BothSides()
    moa = mixture_of(model, model, aggregator=model)
    assert [answer.text for answer in ask_both_ways(moa)] == ["from the sync side", "from the async side"]
    assert not any(on_portal for _, on_portal in model.called)


def test_a_graph_with_a_sync_checkpointer_is_a_member(chat: Callable[..., ChatOpenAI], loopback: Loopback) -> None:
    model = chat("inner")

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        saver = SqliteSaver(connection)
        graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)
        agent = graph.compile(checkpointer=saver, name="agent")
        moa = mixture_of(agent, chat("other"), aggregator=chat("aggregator"))
        for answered in ask_both_ways(moa, config={"configurable": {"thread_id": "1"}}):
            assert statuses(answered) == ["ok", "ok"]
        assert len(loopback.calls("inner")) == 2


# --- mixtures inside of sync members ---


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_forty_mixtures_inside_of_sync_members(chat: Callable[..., ChatOpenAI], loopback: Loopback, *, is_async: bool) -> None:
    many = 40
    gate = loopback.gate()
    loopback.script("inner", Reply("from inside", gate=gate))
    inner = mixture_of(chat("inner"), aggregator=chat("inner-aggregator"))
    members = [asking(inner, f"member {place}") for place in range(many)]
    outer = mixture_of(*members, aggregator=chat("aggregator"))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(lambda: asyncio.run(outer.ainvoke("Hi")) if is_async else outer.invoke("Hi"))
        loopback.wait_for(many, "inner")  # all at once: no answer has been sent
        gate.open()
        assert statuses(asked.result(PATIENCE)) == ["ok"] * many
    assert Counter(loopback.models) == {"inner": many, "inner-aggregator": many, "aggregator": 1}


def test_mixtures_nested_deep_in_sync_members(chat: Callable[..., ChatOpenAI], loopback: Loopback) -> None:
    moa = mixture_of(chat("a"), aggregator=chat("a"))
    for _ in range(6):
        moa = nested(moa, chat("a"))
    for answer in ask_both_ways(moa):
        assert statuses(answer) == ["ok"]


def nested(inner: ChatMoA, aggregator: Any) -> ChatMoA:
    return mixture_of(asking(inner, "inner"), aggregator=aggregator)


def asking(inner: ChatMoA, name: str) -> RunnableLambda[Any, Any]:
    """Return a member with a sync method only, which asks a mixture."""

    def ask(messages: list[BaseMessage]) -> AIMessage:
        return inner.invoke(messages)

    return RunnableLambda(ask, name=name)
