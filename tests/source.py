"""Source files as syntax trees."""

from __future__ import annotations

import ast
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def tree_of(file: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Args:
        file: The file.
    """
    # Python 3.11 raises a SystemError ("AST constructor recursion depth mismatch") if the garbage collector runs a finalizer
    # meanwhile that parses code, too, or that lets another thread do so.
    gc.disable()
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    finally:
        gc.enable()
