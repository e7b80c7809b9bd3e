"""Every Python block of the page on the chat model runs, one after the other, as a reader would paste them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.loopback import able

if TYPE_CHECKING:
    import pytest

    from tests.loopback import Loopback

PAGE = Path(__file__).parents[2] / "docs" / "chat-model.md"


def test_the_page_on_the_chat_model_runs(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    loopback.script("*", able)
    # By their real names, OpenAI's client would ask some of them through an API that the loopback server does not have.
    page = PAGE.read_text(encoding="utf-8").replace("openai:gpt-", "openai:loopback-")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 11
    reader: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), reader)  # noqa: S102  # our own page
    said = capsys.readouterr().out
    assert "loopback-6.1-sol says: Why is the sky blue?" in said
    assert "42" in said
    assert "1 openai:loopback-6-luna" in said
    assert len(reader["answers"]) == 2
