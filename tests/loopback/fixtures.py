"""Fixtures for the loopback server, imported by `conftest.py` modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import httpx
import pytest
from langchain_openai.chat_models import _client_utils

from tests.loopback.able import able
from tests.loopback.server import Loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_openai import ChatOpenAI

_SAMPLES = {
    "png": bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c63f8cfc0f01f0005000 1ff56c7d1b50000000049454e44ae426082".replace(" ", "")
    ),
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "wav": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0",
}


class Chat(Protocol):
    """The type of the fixture `chat`: `Loopback.chat`."""

    def __call__(self, model: str = "a", **settings: object) -> ChatOpenAI:
        """Return a `ChatOpenAI` at the test's own server."""


def forget_clients() -> None:
    """Drop the async clients that LangChain caches by address for models given as strings.

    Their connections belong to the event loop in which they were used, and cannot be used in another loop.
    """
    _client_utils._cached_async_httpx_client.cache_clear()


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A fresh loopback server for each test."""
    with Loopback() as server:
        yield server
    forget_clients()  # a later server may get the same port


@pytest.fixture
def chat(loopback: Loopback) -> Chat:
    """Create models at the test's own server: `chat("name", temperature=0.7)`."""
    return loopback.chat


@pytest.mark.filterwarnings(
    # Warnings of ChatOpenAI about what the suite does.
    "ignore:OpenAI may require a filename:UserWarning",
    "ignore:Received a Pydantic BaseModel V1 schema:UserWarning",
    "ignore:Pydantic serializer warnings:UserWarning",
)
class AbleServed:
    """Base of a class that runs LangChain's standard suite against the loopback server.

    List it before the suite in the bases. Each test has its own `server` with the models
    `able` and `able-too`, both of which support everything that the suite tests. It provides
    the image, document and audio that the suite would otherwise download.
    """

    server: Loopback

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with Loopback() as self.server:
            self.server.script("able", able)
            self.server.script("able-too", able)
            yield

    @pytest.fixture(autouse=True)
    def _samples(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def get(url: str, **_: object) -> httpx.Response:
            return httpx.Response(200, content=_SAMPLES[url.rpartition(".")[2]])

        monkeypatch.setattr(httpx, "get", get)
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "langchain-moa tests")
