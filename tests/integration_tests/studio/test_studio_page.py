"""Every block of the page on Studio and servers does what the page says, with a server that is started as described."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langgraph_cli.config import validate_config
from langgraph_sdk.client import SyncLangGraphClient

from tests.integration_tests.studio.conftest import ROOT, Served

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = ROOT / "docs" / "studio.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_runs(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", served.models.url)
    monkeypatch.chdir(tmp_path)
    written = blocks("python")
    assert len(written) == 7
    said: list[str] = []
    clients: dict[int, Any] = {}
    reader: dict[str, Any] = {}
    for block in written:
        # With their real names, OpenAI's client would ask some of them through an API that the loopback server lacks.
        block_here = block.replace("openai:gpt-", "openai:loopback-").replace("http://127.0.0.1:2024", served.server.url)
        exec(compile(block_here, str(PAGE), "exec"), reader)  # noqa: S102  # our own page
        said.append(capsys.readouterr().out)
        clients |= {id(value): value for value in reader.values() if isinstance(value, SyncLangGraphClient)}
    for client in (*clients.values(), reader["remote"].sync_client, reader["moa"].proposers[1].model.sync_client):
        client.close()
    _, assistant, person, in_process, remote, proposer, sqlite = said
    assert assistant.endswith("loopback-6.1-sol says: And at dusk?\n")
    assert "aggregated openai:loopback-6.1-sol\n" in assistant
    assert "layer_1_proposer_2" in assistant
    assert person == remote == "agg says: Why is the sky blue?\n"
    assert in_process == sqlite == "loopback-6.1-sol says: Why is the sky blue?\n"
    assert proposer.startswith("loopback-6.1-sol says: Why is the sky blue?\n{'")
    read = [request.system.partition("Responses from models:\n")[2] for request in served.models.requests]
    assert read.count("1. Air scatters blue light more than red.") == 3
    assert any(text.endswith("\n2. agg says: Why is the sky blue?") for text in read)


def test_its_configuration_is_one() -> None:
    (configuration,) = blocks("json")
    assert list(validate_config(json.loads(configuration))["graphs"]) == ["moa"]
