"""The summary of many runs: its figures and its page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.runs import summary_html
from langchain_moa.runs.figures import dollars, seconds, ticks
from langchain_moa.runs.plot import histogram
from langchain_moa.runs.summary import Summary
from tests.recorded_runs import a_call, a_run


def test_figures_are_over_all_runs() -> None:
    good = a_run(a_call(name="a"), a_call("Wax.", proposer=2, name="a"), a_call("", layer=None), seconds=1.0)
    mixed = a_run(
        a_call(name="a"),
        a_call("", proposer=2, name="b", status="late", usage=None, cost_usd=None, error={"kind": "quorum", "message": "m"}),
        a_call("", layer=None),
        seconds=3.0,
    )
    failed = a_run(a_call("", name="b", status="failed", usage=None, cost_usd=None), answer=None, status="failed", seconds=9.0)
    summary = Summary.of(iter([good, mixed, failed]))
    assert summary.runs == 3
    assert summary.statuses == {"ok": 2, "failed": 1}
    assert summary.seconds == [1.0, 3.0]
    assert summary.costs == pytest.approx([0.003, 0.002])
    a, b = summary.proposers["a", "test:model"], summary.proposers["b", "test:model"]
    # Both of its samples in one answer are its share of it, once.
    assert a.shares == [1.0, 1.0]
    assert (a.calls, a.failures, a.share) == (3, 0, 1.0)
    assert (b.calls, b.failures, b.share) == (2, 2, None)
    assert summary.failures == {("b", "late", "quorum"): 1, ("b", "failed", "no reason given"): 1}
    assert [member.name for member in summary.sorted_proposers] == ["a", "b"]
    html = summary_html([good, mixed, failed])
    assert "3 runs" in html
    assert "Seconds to the whole answer: 2 runs, the median is 2.0 s" in html


def test_there_must_be_runs() -> None:
    with pytest.raises(ValueError, match="there are none to sum up; record some"):
        summary_html([])


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=50))
def test_a_histogram_has_every_value_once(values: list[float]) -> None:
    found = histogram(values)
    assert found is not None
    assert sum(column.count for column in found.columns) == len(values)
    assert max(column.share for column in found.columns) == 1
    assert found.end >= max(values) * (1 - 1e-9)
    assert len(found.columns) <= 17


def test_nothing_has_no_histogram() -> None:
    assert histogram([]) is None
    assert histogram([0.0, 0.0]) is None


@given(st.floats(1e-6, 1e6))
def test_a_scale_has_round_steps(end: float) -> None:
    found = ticks(end)
    assert 2 <= len(found) <= 6
    assert found[0] == 0
    assert found[-1] <= end * (1 + 1e-6)


def test_figures_are_short() -> None:
    assert [seconds(value) for value in (0.0004, 0.34, 1.26, 125.0, None)] == ["0 ms", "340 ms", "1.3 s", "2 min 5 s", "\u2013"]
    assert [dollars(value) for value in (0.0, 0.00001, 0.0123, 12.0)] == ["$0", "<$0.0001", "$0.0123", "$12.0000"]
