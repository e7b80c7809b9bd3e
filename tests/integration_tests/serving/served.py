"""The application under the server of `langchain-moa serve`, run in a thread."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from langchain_moa import ChatMoA
from langchain_moa.serving import make_app, server
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback import Loopback


class Endpoint:
    """A served application.

    Attributes:
        url: Its address, as an OpenAI client takes it.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def openai(self) -> OpenAI:
        """OpenAI's client, without retries."""
        client = DefaultHttpxClient(verify=False, trust_env=False)
        return OpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=PATIENCE, http_client=client)

    @cached_property
    def http(self) -> httpx.Client:
        """A plain HTTP client."""
        return httpx.Client(base_url=self.url.removesuffix("/v1"), trust_env=False, timeout=PATIENCE)

    def aopenai(self) -> AsyncOpenAI:
        """OpenAI's asynchronous client, which belongs to the test's event loop."""
        client = DefaultAsyncHttpxClient(verify=False, trust_env=False)
        return AsyncOpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=PATIENCE, http_client=client)

    def close(self) -> None:
        """Close the clients."""
        for client in (self.__dict__.get("openai"), self.__dict__.get("http")):
            if client is not None:
                client.close()


@contextmanager
def served(mixtures: Any, **options: Any) -> Iterator[Endpoint]:
    """Serve mixtures until the context ends; the options are those of `make_app` and `HttpServer`."""
    of_server = {name: options.pop(name) for name in ("max_connections", "header_timeout") if name in options}
    with served_app(make_app(mixtures, **options), **of_server) as endpoint:
        yield endpoint


@contextmanager
def served_app(app: Any, **options: Any) -> Iterator[Endpoint]:
    """Serve an application until the context ends; the options are those of `HttpServer`."""
    listener = server.listen("127.0.0.1", 0)
    running = server.HttpServer(app, **options)
    thread = threading.Thread(target=running.run, args=([listener],), name="endpoint")
    thread.start()
    endpoint = Endpoint(server.url_of(listener))
    try:
        yield endpoint
    finally:
        endpoint.close()
        running.should_exit = running.force_exit = True
        thread.join()
        listener.close()


def mixture(loopback: Loopback, **options: Any) -> ChatMoA:
    """Return a mixture of two proposers in one layer, every member at the loopback server."""
    given = {"proposers": [loopback.chat("p"), loopback.chat("q")], "aggregator": loopback.chat("agg"), "num_layers": 1}
    return ChatMoA(**{**given, **options})
