"""Every example in a docstring runs on its own, as a reader would paste it."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import langchain_moa
from langchain_moa import ChatMoA, record_moa
from langchain_moa.runs import append_run
from tests.loopback import Reply, able
from tests.loopback.recorded import last_user_text
from tests.source import tree_of

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.reply import Body

# The models of `local:` would only take time here, since other tests run them; presets are read unchanged.
STAND_INS = re.compile(r"\bopenai:gpt-|\blocal:(?=[sg])")

PACKAGE = Path(langchain_moa.__file__).parent


def examples() -> list[pytest.ParameterSet]:
    """Return the Python blocks of all docstrings, named by module and name."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            blocks = re.findall(r"```python\n(.*?)```", ast.get_docstring(node) or "", re.DOTALL)
            name = f"{path.relative_to(PACKAGE).with_suffix('')}:{getattr(node, 'name', '')}"
            found += [
                pytest.param(textwrap.dedent(block), id=name if number == 1 else f"{name} {number}")
                for number, block in enumerate(blocks, start=1)
            ]
    return found


def answer(body: Body) -> Reply:
    """Write roles if they are requested, otherwise answer like a model."""
    if last_user_text(body["messages"]).startswith("The task: "):
        return Reply('{"one": "You add.", "two": "You check.", "three": "You doubt."}')
    return able(body)


@pytest.mark.parametrize("code", examples())
def test_it_runs(code: str, loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    monkeypatch.setenv("TOGETHER_API_KEY", "test")
    monkeypatch.setenv("TOGETHER_API_BASE", loopback.url)
    loopback.script("*", answer)
    # With their real names, OpenAI's client would ask some of them through an API that the loopback server lacks.
    code = STAND_INS.sub("openai:loopback-", code)
    if '"runs.jsonl"' in code:
        with record_moa() as runs:
            ChatMoA(proposers=["openai:loopback-p"], aggregator="openai:loopback-a").invoke("Why?")
        append_run(runs[0], "runs.jsonl")
    exec(compile(code, "docstring", "exec"), {})  # noqa: S102  # our own code
