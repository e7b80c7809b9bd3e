"""A worker dies while answering, another resumes from the checkpoint, and proposers that answered are not asked again."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Reply
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from tests.loopback import Loopback

WORKER = Path(__file__).with_name("worker.py")


class Workers:
    """Processes that share a file of checkpoints."""

    def __init__(self, folder: Path, url: str) -> None:
        self._file = folder / "checkpoints.sqlite"
        self._url = url

    def start(self, *question: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(WORKER), str(self._file), self._url, *question]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=WORKER.parents[3])  # noqa: S603  # our own command

    def wait_for_answers(self, count: int) -> None:
        """Wait until this number of proposers' answers is in the file, which a dead worker leaves to the next one."""
        until(lambda: self._written() >= count, f"{count} answers in the file")

    def _written(self) -> int:
        try:
            with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as file:
                row = file.execute("select count(*) from writes where channel = 'references'").fetchone()
        except sqlite3.OperationalError:  # it is not there yet
            return 0
        return int(row[0])


@pytest.mark.parametrize(
    ("model", "answered", "asked_again"),
    [
        pytest.param("q", 3, ["q", "agg"], id="in the second layer"),
        pytest.param("agg", 4, ["agg"], id="before the aggregator has answered"),
    ],
)
def test_who_has_answered_is_not_asked_again(
    loopback: Loopback, tmp_path: Path, model: str, answered: int, asked_again: list[str]
) -> None:
    loopback.script("q", [Reply("a"), Reply(hang=True), Reply("b")] if model == "q" else [Reply("a"), Reply("b")])
    loopback.script("agg", [Reply(hang=True), Reply("c")] if model == "agg" else Reply("c"))
    workers = Workers(tmp_path, loopback.url)

    first = workers.start("Hi")
    loopback.wait_for(answered + 1)
    workers.wait_for_answers(answered)
    first.kill()
    first.communicate()
    loopback.settle()
    before = len(loopback.models)
    assert before == answered + 1

    said, problem = workers.start().communicate(timeout=PATIENCE)
    assert not problem
    # The answer, with all five calls in its account.
    assert said.split() == ["c", "5"]
    assert loopback.models[before:] == asked_again
    assert loopback.calls("agg")[-1].system.endswith("Responses from models:\n1. p says: Hi\n2. b")
