"""Every Python block of the page on failures runs, one after the other, as a reader would paste them."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback import Reply
from tests.loopback.fixtures import forget_clients

if TYPE_CHECKING:
    from tests.loopback import Loopback

PAGE = Path(__file__).parents[3] / "docs" / "failures.md"


@pytest.mark.filterwarnings(
    # Warnings about the client that LangChain keeps for models given as strings, which outlives its event loop.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_the_page_on_failures_runs(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    page = PAGE.read_text(encoding="utf-8").replace("openai:gpt-", "openai:loopback-")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    reader: dict[str, Any] = {}

    def said_by(block: str) -> list[str]:
        exec(compile(block, str(PAGE), "exec"), reader)  # noqa: S102  # our own page
        return capsys.readouterr().out.splitlines()

    offline, events, time, leaving, errors, resuming = blocks
    answer = "loopback-6.1-sol says: Why is the sky blue?"
    without = "layer 1: proposer 2, far away (offline), failed: ConnectionError: no network"
    assert said_by(offline) == [answer, str([without])]
    assert said_by(events) == [f"{[without]} []"]
    assert said_by(time) == [answer]
    assert said_by(leaving) == [answer]
    loopback.script("loopback-6.1-sol", Reply("our fault", status=400))
    error, references = said_by(errors)
    assert error.startswith("the aggregator openai:loopback-6.1-sol failed: ")
    assert error.endswith(" False")
    assert references == "['loopback-6-luna says: Why is the sky blue?']"
    loopback.reset()
    loopback.script("loopback-6.1-sol", [Reply("our fault", status=400), Reply("at last")])
    assert said_by(resuming) == ["at last"]
    assert [request.user for request in loopback.calls("loopback-6-luna")] == ["Why is the sky blue?"]
    forget_clients()
    reader.clear()
    gc.collect()
