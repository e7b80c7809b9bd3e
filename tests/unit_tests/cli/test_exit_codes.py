"""Every exception of a command becomes one message and an exit code."""

from __future__ import annotations

import errno

import pytest
import typer

from langchain_moa.cli.exit_codes import FAILED, INTERRUPTED, MISUSED, UsageError, explain, explained
from langchain_moa.data.errors import MoAError, aggregator_failed
from langchain_moa.mixture.mixture import Mixture


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("give one"), MISUSED, "error: give one\n"),
        (MoAError("all of them failed"), FAILED, "error: all of them failed\n"),
        (OSError(errno.ENOSPC, "No space left on device"), FAILED, "error: [Errno 28] No space left on device\n"),
        (KeyError("moa"), FAILED, "error: KeyError: 'moa' (unexpected; --debug shows the traceback)\n"),
        (RuntimeError(), FAILED, "error: RuntimeError: RuntimeError (unexpected; --debug shows the traceback)\n"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (typer.Exit(7), 7, ""),
    ],
)
def test_exit_codes_and_messages(error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, explained(debug=False):
        raise error
    assert ended.value.exit_code == code
    assert capsys.readouterr().err == message


def test_a_reader_that_left_is_no_failure_of_ours() -> None:
    with pytest.raises(BrokenPipeError), explained(debug=False):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_debug_shows_the_traceback_without_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a-long-secret-value")
    error = MoAError("refused a-long-secret-value")
    with pytest.raises(typer.Exit), explained(debug=True):
        raise error
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert __file__ in err
    assert "a-long-secret-value" not in err
    assert err.endswith("error: refused **********\n")


def test_what_only_python_can_get_at_is_said_to_python_only(capsys: pytest.CaptureFixture[str]) -> None:
    error = aggregator_failed([("openai:agg", {"kind": "ValueError", "message": "no"}, ValueError("no"))], [])
    assert error.__notes__ == ["good references that are kept in this error's `references`: 0"]
    with pytest.raises(typer.Exit), explained(debug=False):
        raise error
    assert capsys.readouterr().err == "error: the aggregator openai:agg failed: ValueError: no\n"


def test_a_field_is_named_and_pydantic_is_not() -> None:
    with pytest.raises(ValueError, match="num_layers") as refused:
        Mixture(proposers=[], aggregator="openai:x", num_layers=0)
    text = explain(refused.value)
    assert "num_layers: 0 is too small" in text
    assert "proposers: there are no proposers" in text
    assert "pydantic" not in text
    assert "Value error" not in text
