"""A batch on a full disk."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import Mixture
from langchain_moa.batch.run import BatchRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.loopback import Loopback


@contextmanager
def _full_at(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def _all(run: BatchRun) -> list[Any]:
    return [answer async for answer in run.answers()]


@pytest.mark.parametrize("more", [2_000, 20_000, 60_000])
def test_a_full_disk_ends_the_run_and_loses_nothing_that_was_paid(loopback: Loopback, tmp_path: Path, more: int) -> None:
    mixture = Mixture(proposers=[loopback.chat("a")], aggregator=loopback.chat("b"), num_layers=1)
    rows = [f"question {number} {'x' * 300}" for number in range(200)]
    out = tmp_path / "out.jsonl"
    with BatchRun(mixture, rows, output=out) as run:
        # Whichever file comes first: the journal, its log, or the output.
        size = max(path.stat().st_size for path in tmp_path.iterdir())
        with _full_at(size + more):
            asyncio.run(_all(run))
        assert run.journal.gate.reason == "write"
        assert "cannot be written" in run.journal.gate.why
        assert run.unsaved
        assert run.save()
    asked = len(loopback.requests)
    assert asked < 400
    with BatchRun(mixture, rows, output=out) as run:
        asyncio.run(_all(run))
    assert len(loopback.requests) == 400
    assert sorted(json.loads(line)["id"] for line in out.read_text().splitlines()) == list(range(1, 201))
