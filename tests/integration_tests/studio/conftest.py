"""One development server for all of these tests; each test has its own models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langgraph_sdk import get_client, get_sync_client

from tests.integration_tests.studio.dev_server import DevServer
from tests.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

ROOT = Path(__file__).parents[3]
MIXTURE = """
proposers:
  - openai:p
  - model: openai:q
    name: sceptic
    system_prompt: You doubt.
aggregator: openai:agg
num_layers: 1
"""


@dataclass(frozen=True)
class Served:
    """The mixture above behind `langgraph dev`, and its models behind that."""

    models: Loopback
    server: DevServer
    sync_client: SyncLangGraphClient


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "mixture.yaml").write_text(MIXTURE, encoding="utf-8")
    with Loopback() as models:
        # Keys and the name of the mixture are in .env, as langgraph.json says.
        variables = ["OPENAI_API_KEY=test", "LANGCHAIN_MOA_CONFIG=mixture.yaml", "LANGCHAIN_MOA_MODELS=openai:*,local:*"]
        (folder / ".env").write_text("\n".join(variables), encoding="utf-8")
        env = {"OPENAI_BASE_URL": models.url}
        server = DevServer(folder, config=ROOT / "langgraph.json", env=env)
        with server, get_sync_client(url=server.url) as client:
            yield Served(models, server, client)


@pytest.fixture
def served(running: Served) -> Served:
    running.models.settle()
    running.models.reset(scripts=True)
    return running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=served.server.url) as client:
        yield client


def asking(text: str) -> dict[str, Any]:
    """Return the input of a turn."""
    return {"messages": [{"role": "user", "content": text}]}
