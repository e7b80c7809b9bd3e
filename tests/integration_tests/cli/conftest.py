"""Fixtures of the command line's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
from langchain.chat_models import init_chat_model
from typer.testing import CliRunner

from langchain_moa.cli.app import app
from tests.integration_tests.cli.program import Done, Program

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

    from tests.loopback import Loopback


class Command(Protocol):
    """The type of the fixture `moa`."""

    def __call__(self, *args: str, stdin: str = "") -> Done:
        """Run a command and return its result."""


@pytest.fixture
def moa(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Commands in an empty folder, in this process: `moa("ask", "Why?")`."""

    def init_at_loopback(name: str, **settings: Any) -> BaseChatModel:
        # LangChain's own clients keep connections, which would belong to an earlier command's event loop.
        provider, _, model = name.partition(":")
        return loopback.chat(model, **settings) if provider == "openai" else init_chat_model(name, **settings)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", init_at_loopback)
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)

    def command(*args: str, stdin: str = "") -> Done:
        result = CliRunner().invoke(app, args, input=stdin)
        return Done(result.exit_code, result.stdout, result.stderr)

    return command


@pytest.fixture
def program(loopback: Loopback, tmp_path: Path) -> Program:
    """The command line as a separate program, in an empty folder."""
    return Program(loopback, tmp_path)
