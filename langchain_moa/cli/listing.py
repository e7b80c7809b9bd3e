"""Lists on standard output: a table for a person, lines with tabs for a script."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from langchain_moa.cli.console import console_on, is_terminal, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text


def print_list(titles: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a list.

    Args:
        titles: The columns' headings, which only a person sees.
        rows: The cells of each row, in the order of the columns.
    """
    if not is_terminal(sys.stdout):
        for row in rows:
            sys.stdout.write("\t".join(one_line(str(cell)) for cell in row) + "\n")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    console_on(sys.stdout).print(table)
