"""The code of the page on how a mixture works runs on local models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "concepts.md"


@pytest.mark.usefixtures("any_model")  # which sees to it that the models are here
def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102  # our own page
    # The aggregator's small model may also reach its token limit.
    told = [line for line in capsys.readouterr().out.splitlines() if not line.endswith("cut at max_tokens")]
    assert len(told) == 4
    assert all(line.endswith("its context window: 2 of the oldest messages left out") for line in told)
