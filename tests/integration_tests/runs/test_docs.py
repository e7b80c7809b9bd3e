"""Every Python block of the page on reports runs, one after the other, as a reader would paste them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.runs import CallRecord, MessageRecord, MoARun

if TYPE_CHECKING:
    import pytest

    from tests.loopback import Loopback

PAGE = Path(__file__).parents[3] / "docs" / "report.md"


def test_the_page_on_reports_runs(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8").replace("openai:gpt-", "openai:loopback-")
    reader: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), reader)  # noqa: S102  # our own page
    said = capsys.readouterr().out
    assert "aggregator openai:loopback-6.1-sol ok" in said
    assert "0% no similar wording" in said
    assert {file.name for file in tmp_path.iterdir()} == {"run.html", "run.json", "runs.jsonl", "summary.html"}


def test_every_field_of_the_json_form_is_documented() -> None:
    page = PAGE.read_text(encoding="utf-8")
    form = page[page.index("## The JSON form") :]
    for kind in (MoARun, CallRecord, MessageRecord):
        for name in kind.model_fields:
            assert f"`{name}`" in form
