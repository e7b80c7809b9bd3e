"""The page on serving: its code runs, and its tables match the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from langchain_moa import ChatMoA
from langchain_moa.mixture.config import read_mixtures
from langchain_moa.serving.chat import ChatRequest
from langchain_moa.serving.parameters import _IGNORED, _REFUSED
from langchain_moa.serving.responses import ResponsesRequest
from tests.integration_tests.serving.served import mixture, served

if TYPE_CHECKING:
    import pytest

    from tests.loopback import Loopback

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_python_blocks_run(loopback: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    reader: dict[str, Any] = {}
    with served({"local": mixture(loopback)}) as endpoint:
        for block in blocks("python"):
            code = block.replace("http://127.0.0.1:8000/v1", endpoint.url)
            exec(compile(code, "serving.md", "exec"), reader)  # noqa: S102  # our own page
    reader["client"].close()
    assert capsys.readouterr().out.count("agg says: What do bees make?") == 4
    assert len(loopback.requests) == 12


def test_the_files_and_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: Loopback) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    (block,) = blocks("yaml")
    file = tmp_path / "moa.yaml"
    file.write_text(block, encoding="utf-8")
    assert list(read_mixtures(ChatMoA, file, {})) == list(yaml.safe_load(block)["mixtures"])
    from typer.main import get_command

    from langchain_moa.cli.app import app

    serve: Any = get_command(app).commands["serve"]  # type: ignore[attr-defined]  # a group
    known = {name for option in serve.params for name in (*option.opts, *option.secondary_opts)}
    assert set(re.findall(r"--(?!header|data)[a-z][a-z-]+", PAGE)) <= {*known}


def test_every_parameter_is_on_the_page() -> None:
    for name in {*ChatRequest.model_fields, *ResponsesRequest.model_fields, *_IGNORED, *_REFUSED} - {"model", "messages"}:
        assert f"`{name}`" in PAGE or f"`{name} " in PAGE, name
