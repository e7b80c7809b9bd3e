"""The page on prompt caches: its code runs, and its tables match the benchmark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import prompt_caching

if TYPE_CHECKING:
    import pytest

    from tests.loopback import Loopback

PAGE = Path(__file__).parents[2] / "docs" / "prompt-caching.md"


def test_every_block_runs(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    page = PAGE.read_text(encoding="utf-8").replace("openai:gpt-", "openai:loopback-")
    page = page.replace("google_genai:gemini", "openai:loopback").replace("http://127.0.0.1:8000/v1", loopback.url)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    reader: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), reader)  # noqa: S102  # our own page
        reader["moa"].invoke("Why is the sky blue?")
    assert loopback.requests[-1].system == "Write one answer from the drafts at the end."
    assert loopback.requests[-1].user.startswith("Why is the sky blue?\n\nDraft 1:\n")
    assert reader["member"].system_role is False


def test_the_tables_are_those_of_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    prompt_caching.main()
    shares, dollars = capsys.readouterr().out.strip().split("\n\n")
    page = PAGE.read_text(encoding="utf-8")
    assert shares in page
    # Prices change.
    assert dollars.splitlines()[0] in page
