"""A batch on a full disk."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import Mixture
from langchain_moa.batch.run import BatchRun
from tests.full_disk import full_at

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback


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
        with full_at(size + more):
            asyncio.run(_all(run))
        assert run.journal.gate.reason == "write"
        assert "cannot be written" in run.journal.gate.why
        assert run.unsaved_calls or run.unsaved_rows
        assert run.save()
    asked = len(loopback.requests)
    assert asked < 400
    with BatchRun(mixture, rows, output=out) as run:
        asyncio.run(_all(run))
    assert len(loopback.requests) == 400
    assert sorted(json.loads(line)["id"] for line in out.read_text().splitlines()) == list(range(1, 201))
