"""Drawing works on plain data: it imports nothing about mixtures, not even for type checkers."""

from __future__ import annotations

import ast
from pathlib import Path

from langchain_moa import drawing
from tests.source import tree_of

BELOW = ("langchain_moa.drawing", "langchain_moa.data.sanitizing", "langchain_moa.data.files")


def test_drawing_imports_nothing_of_the_mixture() -> None:
    files = sorted(Path(drawing.__file__).parent.glob("*.py"))
    trees = [node for file in files for node in ast.walk(tree_of(file))]
    names = {alias.name for node in trees if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in trees if isinstance(node, ast.ImportFrom)}
    ours = {name for name in names if name.partition(".")[0] == "langchain_moa"}
    assert {"langchain_moa.drawing.diagram", "langchain_moa.data.sanitizing"} <= ours
    assert [name for name in sorted(ours) if not name.startswith(BELOW)] == []
