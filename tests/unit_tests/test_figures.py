"""Figures as text: the cost of calls of which only some have a known price."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.data.figures import Cost, counted, seconds

prices = st.lists(st.none() | st.floats(0, 100), max_size=20)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ([], "\u2013"),
        ([0.01, 0.02], "$0.0300"),
        ([0.0], "$0"),
        ([0.01, None], "at least $0.0100 (1 of 2 calls priced)"),
        ([None, None], "no price known"),
        ([0.00001, None, None], "at least <$0.0001 (1 of 3 calls priced)"),
    ],
)
def test_a_cost_never_looks_complete_where_it_is_not(known: list[float | None], words: str) -> None:
    assert str(Cost.of(known)) == words


@given(prices, prices)
def test_costs_add_up(first: list[float | None], second: list[float | None]) -> None:
    together, whole = Cost.of(first) + Cost.of(second), Cost.of([*first, *second])
    assert together.usd == pytest.approx(whole.usd)
    assert (together.priced, together.calls) == (whole.priced, whole.calls)
    assert (whole.total_usd is None) == (not whole.calls or None in [*first, *second])


def test_a_number_has_its_noun() -> None:
    assert [counted(number, "call") for number in (0, 1, 1200)] == ["0 calls", "1 call", "1,200 calls"]


def test_a_duration_is_rounded_before_its_unit_is_chosen() -> None:
    assert [seconds(value) for value in (0.9994, 0.9996, 59.94, 59.96)] == ["999 ms", "1.0 s", "59.9 s", "1 min 0 s"]
