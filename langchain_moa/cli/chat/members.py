"""The members of a mixture as a table."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from langchain_moa.cli.console import elided, one_line
from langchain_moa.data.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table
    from rich.text import Text

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

_NARROWEST_NAME = 16
_WIDEST_NAME = 50


def members_table(mixture: Mixture, *, width: int) -> Table:
    """Return who is asked, in the order of the asking, with their own settings.

    Args:
        mixture: The mixture.
        width: The terminal's width in cells.
    """
    from rich.table import Table

    cells = min(max(width // 2 - 8, _NARROWEST_NAME), _WIDEST_NAME)
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title, no_wrap in (("", True), ("model", True), ("", False)):
        rows.add_column(title, no_wrap=no_wrap)
    before = None
    for place, member in _places(mixture):
        rows.add_row(place if place != before else "", elided(member.id, cells=cells), _manner(member))
        before = place
    return rows


def _places(mixture: Mixture) -> Iterator[tuple[str, Member]]:
    members = mixture.members
    number = 1
    for layer, same in groupby(members.layers):
        last = number + len(list(same)) - 1
        place = f"layer {number}" if last == number else f"layers {number}-{last}"
        yield from ((place, member) for member in layer)
        number = last + 1
    yield from (("strategy", member) for _, member in members.others)
    if mixture.aggregator is not None:
        yield "aggregator", members.aggregator
    yield from (("stands in", member) for member in members.fallbacks)


def _manner(member: Member) -> Text:
    """Return how a member differs from its model: its name, its settings, what it is told."""
    from rich.text import Text

    spec = member.spec
    settings = ", ".join(f"{name}={one_line(str(value))}" for name, value in masked(spec.settings).items())
    told = f"“{one_line(spec.system_prompt)}”" if spec.system_prompt else ""
    return Text(" · ".join(part for part in (spec.name or "", settings, told) if part), "dim")
