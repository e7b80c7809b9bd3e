"""Questions for `eval generate`, and the answers that it writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = ("-p", "openai:a", "-p", "openai:b", "-a", "openai:last")
FLASK = [{"idx": number, "instruction": f"Question {number}"} for number in (1, 2, 3)]


def generate(benchmark: str, *more: str, members: tuple[str, ...] = MEMBERS) -> tuple[str, ...]:
    """Return the arguments for a benchmark."""
    return ("eval", "generate", "-b", benchmark, "--questions", "questions", "-o", "answers", *members, *more)


def write(folder: Path, rows: list[dict[str, Any]], name: str = "questions") -> None:
    """Write a file of rows."""
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the answer file."""
    text = (folder / "answers").read_text()
    rows: list[dict[str, Any]] = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return rows
