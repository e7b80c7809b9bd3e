"""The fixture of tests with providers; a `conftest.py` imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_anthropic import _client_utils

from tests.loopback.fixtures import forget_clients
from tests.providers.server import ProviderServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def providers() -> Iterator[ProviderServer]:
    """A fresh server of all providers for each test."""
    with ProviderServer() as server:
        yield server
    # LangChain keeps async clients by address, with connections of a closed event loop; a later server may get the port.
    forget_clients()
    _client_utils._get_default_async_httpx_client.cache_clear()
    _client_utils._get_default_httpx_client.cache_clear()
