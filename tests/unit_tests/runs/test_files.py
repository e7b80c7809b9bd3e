"""Files of runs: complete or absent, private, and a broken line affects only itself."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa.data.files import write_whole
from langchain_moa.runs import append_run, read_runs, summary_html
from langchain_moa.runs.files import json_of
from langchain_moa.runs.run import MoARun
from tests.recorded_runs import a_run, any_run


def _mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


def test_a_half_written_line_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "runs.jsonl"
    append_run(a_run(id="one"), file)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    append_run(a_run(id="two"), file)
    with caplog.at_level(logging.WARNING, "langchain_moa"):
        assert [run.id for run in read_runs(file)] == ["one", "two"]
    assert [record.getMessage() for record in caplog.records] == [f"{file}, line 2: skipped, the line is incomplete"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_wherever_a_line_ends_the_others_are_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    file = tmp_path_factory.mktemp("runs") / "runs.jsonl"
    text = json_of(a_run(id="h\u00e9lf \U0001f600")).encode()
    file.write_bytes(text[: data.draw(st.integers(1, len(text) - 1))])
    append_run(a_run(id="next"), file)
    assert [run.id for run in read_runs(file)] == ["next"]


def test_a_complete_line_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    for text in ('{"id": 1}', "[]", "nothing", '{"version": 1, "id": "\\u001b]0;x\\u0007", "status": "\\u009b"}'):
        (tmp_path / "runs.jsonl").write_text(f"{text}\n")
        with pytest.raises(ValueError, match=r"runs\.jsonl, line 1: not a recorded run") as error:
            list(read_runs(tmp_path / "runs.jsonl"))
        assert str(error.value).isprintable()
    (tmp_path / "run.json").write_text('{"id": ')
    with pytest.raises(ValueError, match=r"run\.json: not a recorded run"):
        list(read_runs(tmp_path / "run.json"))


@pytest.mark.parametrize("name", ["run.html", "run.json", "runs.jsonl"])
def test_files_are_private(tmp_path: Path, name: str) -> None:
    a_run().save(tmp_path / name)
    assert _mode(tmp_path / name) == 0o600
    summary_html([a_run()], tmp_path / "summary.html")
    assert _mode(tmp_path / "summary.html") == 0o600


def test_an_open_file_is_made_private_when_it_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text("old")
    file.chmod(0o644)
    a_run().to_html(file)
    assert _mode(file) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["run.html"]


def test_a_write_that_fails_leaves_the_old_file_and_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.html"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*run\.html'") as error:
        a_run().to_html(file)
    assert error.value.errno == errno.ENOSPC
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["run.html"]


def test_a_line_that_could_not_be_written_whole_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "runs.jsonl"
    append_run(a_run(id="one"), file)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr(os, "write", half)
        with pytest.raises(OSError, match=r"No space left on device: '.*runs\.jsonl'"):
            append_run(a_run(id="lost"), file)
    append_run(a_run(id="two"), file)
    assert [run.id for run in read_runs(file)] == ["one", "two"]


@pytest.mark.parametrize("write", [MoARun.to_json, append_run])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, write: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*no/run\.json'"):
        write(a_run(), tmp_path / "no" / "run.json")


def test_links_are_followed_and_devices_written_to(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    a_run().to_json(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert MoARun.from_json(tmp_path / "real.json") == a_run()
    write_whole(os.devnull, "x")
    append_run(a_run(), os.devnull)
    assert Path(os.devnull).is_char_device()


@settings(max_examples=60, deadline=None)
@given(any_run, st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_run_in_a_file_steers_no_terminal(run: MoARun, text: str) -> None:
    run = run.model_copy(update={"id": f"{text}\x9b2J\x1b]0;x\x07\u202e\U000e0041"})
    written = json_of(run)
    assert MoARun.from_json(written) == run
    assert not {"\x9b", "\x1b", "\x07", "\u202e", "\U000e0041", "\n"} & set(written)
