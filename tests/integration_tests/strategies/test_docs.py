"""The code of the page on strategies runs unchanged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from langchain_moa import ChatMoA, Mixture, create_moa

if TYPE_CHECKING:
    from tests.loopback import Loopback

PAGE = (Path(__file__).parents[3] / "docs" / "which-mixture.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
YAML = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _providers(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's server replaces all providers of the page."""
    for provider in ("OPENAI", "TOGETHER"):
        monkeypatch.setenv(f"{provider}_API_KEY", "test")
        monkeypatch.setenv(f"{provider}_API_BASE", loopback.url)
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)

    def answer(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"]
        return json.dumps({f"role {n}": "You are one." for n in range(3)}) if "Write 3 roles" in asked else "It takes 85."

    loopback.script("*", answer)


def test_there_is_code_for_every_task() -> None:
    assert len(PYTHON) >= 9
    assert len(YAML) == 1


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_it_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(code, "docs/which-mixture.md", "exec"), names)  # noqa: S102  # our own
    printed = capsys.readouterr().out
    if "selected" in code:
        assert "'answer': '85', 'votes': 5, 'of': 5, 'agreement': 1.0}" in printed
    if "verified" in code:
        assert printed == "False\n"  # the models of this test do not write Python
    if isinstance(moa := names.get("moa"), ChatMoA):
        assert "85" in moa.invoke("How long does it take?").text
    else:
        assert callable(names["second_opinion"])


def test_the_second_opinion_works(loopback: Loopback) -> None:
    names: dict[str, Any] = {}
    exec(next(code for code in PYTHON if "second_opinion" in code), names)  # noqa: S102  # our own
    moa = ChatMoA(
        proposers=["openai:gpt-4.1-mini"], aggregator="openai:gpt-4.1", num_layers=1, aggregation=names["second_opinion"]
    )
    assert moa.invoke("How long does it take?").text == "It takes 85."
    assert loopback.calls("gpt-4.1")[0].user == "Correct this answer to 'How long does it take?': It takes 85."


@pytest.mark.parametrize("text", YAML, ids=range(len(YAML)))
def test_the_yaml_is_a_mixture(text: str) -> None:
    assert create_moa(Mixture(**yaml.safe_load(text))).compile().get_graph().nodes["vote"]
