"""The fixture of tests with providers; a `conftest.py` imports it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pytest
from langchain_anthropic import _client_utils

from tests.loopback.fixtures import forget_clients
from tests.providers.server import ProviderServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let clients trust one authority: a TLS context with all of them takes longer than the calls of a test."""
    end = "-----END CERTIFICATE-----\n"
    first, _, _ = Path(certifi.where()).read_text(encoding="utf-8").partition(end)
    bundle = tmp_path_factory.mktemp("authorities") / "one.pem"
    bundle.write_text(first + end, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(bundle))
        yield


@pytest.fixture
def providers(few_authorities: None) -> Iterator[ProviderServer]:
    """A fresh server of all providers for each test."""
    with ProviderServer() as server:
        yield server
    # LangChain keeps async clients by address, with connections of a closed event loop; a later server may get the port.
    forget_clients()
    _client_utils._get_default_async_httpx_client.cache_clear()
    _client_utils._get_default_httpx_client.cache_clear()
