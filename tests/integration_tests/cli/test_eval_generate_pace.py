"""`eval generate` with a provider that rejects calls because too many are made at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.integration_tests.cli.answers import generate, read, write
from tests.loopback import Reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.loopback import Loopback


def test_a_rate_limit_slows_it_and_fails_no_question(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"idx": number, "instruction": f"Question {number}"} for number in range(30)])
    refused = []

    def sometimes(body: dict[str, Any]) -> Reply:
        if loopback.open_calls > 3:
            refused.append(body)
            return Reply("slow down", status=429, headers={"retry-after": "0.05"})
        return Reply("ok", delay=0.01)

    loopback.script("*", sometimes)
    done = moa(*generate("flask", "--concurrency", "20", "--set", "num_layers=1", "--set", "min_references=2"))
    assert done.code == 0, done.err
    assert refused
    assert [row["text"] for row in read(tmp_path)] == ["ok"] * 30
