"""Every error that the page on troubleshooting quotes is one that the code raises."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.source import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

# A row begins with what it quotes; further quotes have a … in them. A single word is a type or an option.
CELLS = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
QUOTES = [(number, text) for cell in CELLS for number, text in enumerate(re.findall(r"`([^`]+)`", cell))]
QUOTED = [text for number, text in QUOTES if " " in text and (number == 0 or "…" in text)]


def text_of(node: ast.expr) -> str:
    """Return a string of the code, with … for what is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    return "…"


@cache
def messages() -> tuple[str, ...]:
    def of(file: Path) -> Iterator[str]:
        nodes = list(ast.walk(tree_of(file)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in docstrings:
                yield text_of(node)

    return tuple(text for file in sorted((ROOT / "langchain_moa").rglob("*.py")) for text in of(file))


def test_many_are_quoted() -> None:
    assert len(QUOTED) > 25


@pytest.mark.parametrize("quoted", QUOTED)
def test_the_code_says_it(quoted: str) -> None:
    parts = [part.strip() for part in quoted.removeprefix("error: ").split("…") if part.strip()]
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    assert any(pattern.search(text) for text in messages()), f"no message of the code is like {quoted!r}"
