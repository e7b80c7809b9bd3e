"""Private parts of other packages that this one needs; each failure says what breaks when a release changes them."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.channels import UntrackedValue
from langgraph.graph import END, START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from typing_extensions import TypedDict

from langchain_moa import _compat
from langchain_moa._compat import copy_for_loop, read_channel, remote_headers, sdk_client, with_sdk_client
from langchain_moa.members.clients import LoopClients
from tests.providers import ProviderServer, fixtures, member
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig

# Fixtures for pytest.
providers = fixtures.providers

COPIED = ("openai", "responses", "openrouter", "together", "deepseek", "xai", "anthropic", "groq", "ollama", "cohere")
NOT_COPIED = ("bedrock", "fireworks", "gemini", "mistral")
# Packages whose copies make their own HTTP clients and have no settings for retries.
MAKES_ITS_OWN = {"ollama", "cohere"}
# The others are tested in the unit tests, since they need no server.
TESTED = {
    *("read_channel", "copy_for_loop", "streams_tokens", "inherited_context", "is_run_id", "tracing_params"),
    *("identifying_params", "llm_type", "has_async_methods", "default_settings", "provider_packages", "provider_of"),
    *("ollama_options", "remote_headers", "sdk_client", "with_sdk_client"),
}

NO_CHANNEL = (
    "read_channel no longer finds a channel of the running graph, so that the proposers of a layer share nothing: no quorum "
    "closes a layer, no deadline is divided. Look for what LangGraph puts in place of configurable['__pregel_read']."
)
NO_COPY = (
    "the chat model of {} is no longer copied for an event loop, so that it is called by its sync side in sync code, where "
    "it cannot be cancelled, and fails with 'bound to a different event loop' in a second loop. Look for where the package "
    "keeps its async client."
)
OLD_CLIENT = (
    "the copied chat model of {} sends its requests by the client that its package shares between event loops, so that a "
    "second loop fails with 'bound to a different event loop'. Look for where the package keeps its async client."
)


def test_every_name_is_tested() -> None:
    names = {
        name
        for name, value in vars(_compat).items()
        if inspect.isfunction(value) and value.__module__ == _compat.__name__ and not name.startswith("_")
    }
    assert names == TESTED, "a name of _compat has no test here; write one that says what breaks when a release changes it"


# --- LangGraph: read_channel ---


class State(TypedDict, total=False):
    """The state of a graph with a channel that is not in its nodes' input."""

    seen: list[Any]


class WithShared(State):
    shared: Any


class Shared(UntrackedValue[Any]):
    """A channel that contains an object from the start."""

    def from_checkpoint(self, checkpoint: Any) -> Any:
        channel = super().from_checkpoint(checkpoint)
        channel.value = "what the nodes share"
        return channel


def graph_that_reads(name: str) -> Any:
    """Return a graph whose two parallel nodes read a channel that is not in their input."""
    seen: list[Any] = []

    def read(_: State, config: RunnableConfig) -> dict[str, Any]:
        seen.append(read_channel(config, name))
        return {}

    async def aread(state: State, config: RunnableConfig) -> dict[str, Any]:
        return read(state, config)

    graph: Any = StateGraph(WithShared, input_schema=State, output_schema=State)
    graph.channels["shared"] = Shared(Any)
    for node in ("first", "second"):
        graph.add_node(node, RunnableLambda(read, aread), input_schema=State)
        graph.add_edge(START, node)
        graph.add_edge(node, END)
    return graph.compile(), seen


def test_a_node_reads_a_channel_of_the_running_graph() -> None:
    graph, seen = graph_that_reads("shared")
    graph.invoke({"seen": []})
    asyncio.run(graph.ainvoke({"seen": []}))
    assert seen == ["what the nodes share"] * 4, NO_CHANNEL


def test_a_channel_that_a_graph_does_not_have_is_read_as_nothing() -> None:
    graph, seen = graph_that_reads("another")
    graph.invoke({"seen": []})
    assert seen == [None] * 2, "read_channel fails in graphs that are not ours. Look for the error of LangGraph's read."
    assert read_channel(None, "shared") is None
    assert read_channel({}, "shared") is None


# --- the providers' packages: copy_for_loop ---


class Watched:
    """The clients of a loop, which record their requests."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.sent: list[str] = []
        self.closers: list[Callable[[], Awaitable[Any]]] = []

    def get(self, _: Hashable, make: Callable[[], Any]) -> Any:
        """Return a new client."""
        self.made.append(client := make())
        self.watch(client)
        return client

    def watch(self, client: Any) -> None:
        """Record the requests of an HTTP client."""

        async def note(request: Any) -> None:
            self.sent.append(str(request.url))

        client.event_hooks = {**client.event_hooks, "request": [note]}

    async def close(self) -> None:
        """Close all."""
        for client in self.made:
            await client.aclose()
        for close in self.closers:
            await close()


@pytest.mark.parametrize("provider", COPIED)
async def test_a_copied_model_uses_the_client_of_its_loop(providers: ProviderServer, provider: str) -> None:
    model = member(providers, provider)
    watched = Watched()
    copy: Any = copy_for_loop(model, watched.get, watched.closers.append)
    try:
        assert copy is not None, NO_COPY.format(provider)
        assert copy is not model, OLD_CLIENT.format(provider)
        if provider in MAKES_ITS_OWN:
            assert http_client(copy) is not http_client(model), OLD_CLIENT.format(provider)
            watched.watch(http_client(copy))
        async with asyncio.timeout(PATIENCE):
            answer = await copy.ainvoke("Hi")
            pieces = [piece async for piece in copy.astream("Hi")]
    finally:
        await watched.close()
    assert answer.text
    assert pieces
    assert len(watched.sent) == len(providers.requests) == 2, OLD_CLIENT.format(provider)
    assert not providers.rules, f"the copied chat model of {provider} sends what the provider refuses: {providers.rules}"


@pytest.mark.parametrize("provider", COPIED)
async def test_a_copy_leaves_the_model_as_it_was(providers: ProviderServer, provider: str) -> None:
    settings: dict[str, Any] = {} if provider in MAKES_ITS_OWN else {"max_retries": 3, "timeout": 41.0}
    model = member(providers, provider, **settings)
    before, client = model.model_dump(), async_client(model)
    watched = Watched()
    copy: Any = copy_for_loop(model, watched.get, watched.closers.append)
    await watched.close()
    assert async_client(model) is client, f"copying the chat model of {provider} changes the user's own"
    assert model.model_dump() == before
    if provider not in MAKES_ITS_OWN:
        own = async_client(copy)
        assert (own.max_retries, own.timeout) == (3, 41.0), f"the copy of {provider} loses the client's retries and timeout"
        assert own.api_key == client.api_key, f"the copy of {provider} loses the key"
        assert str(own.base_url) == str(client.base_url), f"the copy of {provider} loses the address"


@pytest.mark.parametrize("provider", COPIED)
async def test_the_clients_of_copies_are_closed(providers: ProviderServer, provider: str) -> None:
    clients = LoopClients()
    await clients.anchor()
    copy: Any = copy_for_loop(member(providers, provider), clients.get, clients.on_close)
    own = http_client(copy)
    assert not own.is_closed
    anchor: Any = clients._anchor
    await anchor.aclose()
    assert own.is_closed, f"the HTTP client of a copied chat model of {provider} stays open when its loop has ended"


@pytest.mark.parametrize("provider", NOT_COPIED)
async def test_other_packages_are_not_copied(providers: ProviderServer, provider: str) -> None:
    watched = Watched()
    model: BaseChatModel = member(providers, provider)
    assert copy_for_loop(model, watched.get, watched.closers.append) is None
    assert not watched.made


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_model_calls_the_client_of_its_sdk_that_it_is_given(providers: ProviderServer, provider: str) -> None:
    model = member(providers, provider)
    client = sdk_client(model)
    assert client is async_client(model), f"the chat model of {provider} keeps its SDK's client elsewhere"
    own = client.copy()
    copy = with_sdk_client(model, own)
    assert sdk_client(copy) is own, OLD_CLIENT.format(provider)
    assert sdk_client(model) is client
    assert (await copy.ainvoke("Hi")).text
    await own.close()


def test_other_packages_have_no_such_client(providers: ProviderServer) -> None:
    assert sdk_client(member(providers, "mistral")) is None


async def test_the_headers_of_a_remote_graph_are_found() -> None:
    remote = RemoteGraph("agent", url="http://127.0.0.1:9", api_key="lsv2_a_key_of_the_loopback")
    missing = "remote_headers no longer finds the HTTP headers of a RemoteGraph, whose api_key is then not redacted"
    assert remote_headers(remote).get("x-api-key") == "lsv2_a_key_of_the_loopback", missing
    assert remote_headers(object()) == {}


def async_client(model: Any) -> Any:
    """Return the async client of a provider's SDK in a model."""
    if hasattr(model, "root_async_client"):
        return model.root_async_client or model.async_client._client
    if hasattr(model, "async_client"):
        return getattr(model.async_client, "_client", model.async_client)
    return model._async_client


def http_client(model: Any) -> Any:
    """Return the HTTP client of a provider's SDK in a model."""
    sdk = async_client(model)
    return sdk._client_wrapper.httpx_client.httpx_client if hasattr(sdk, "_client_wrapper") else sdk._client
