"""The summary of many runs: its figures and its page."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.data.figures import dollars, seconds, ticks
from langchain_moa.runs import summary_html
from langchain_moa.runs.summary import RunsSummary, histogram
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
    summary = RunsSummary.of(iter([good, mixed, failed]))
    assert summary.runs == 3
    assert summary.statuses == {"ok": 1, "degraded": 1, "failed": 1}
    assert summary.seconds == [1.0, 3.0]
    assert summary.costs == pytest.approx([0.003, 0.002])
    a, b = summary.proposers["a", "test:model"], summary.proposers["b", "test:model"]
    # One score for each reference that was read: one for the same sentence, one without a common word.
    assert a.bleu == pytest.approx([100, 0, 100])
    assert (a.calls, a.failures) == (3, 0)
    assert a.mean_bleu == pytest.approx(200 / 3)
    assert (b.calls, b.failures, b.mean_bleu) == (2, 2, None)
    assert {reason: (found.times, found.latest) for reason, found in summary.failures.items()} == {
        ("b", "late", "quorum"): (1, 2),
        ("b", "failed", "no reason given"): (1, 3),
    }
    assert [member.name for member in summary.sorted_proposers] == ["a", "b"]
    html = summary_html([good, mixed, failed])
    assert "3 runs" in html
    assert "Seconds to the whole answer: 2 runs, the median is 2.0 s" in html


def test_the_total_is_the_sum_of_all_that_is_known() -> None:
    partly = a_run(a_call(cost_usd=0.0399), a_call(proposer=2, cost_usd=None), a_call("", layer=None, cost_usd=None))
    whole = a_run(a_call(cost_usd=0.0078))
    summary = RunsSummary.of([partly, whole])
    assert str(summary.cost) == "at least $0.0477 (2 of 4 calls priced)"
    assert summary.costs == [0.0078]
    html = summary_html([partly, whole])
    assert "<dd>at least $0.0477" in html
    assert "2 of 4 calls priced" in html
    # The sums of the tables are equal.
    members = [*summary.proposers.values(), *summary.writers.values()]
    assert sum(member.cost.usd for member in members) == pytest.approx(summary.cost.usd)


def test_rows_lead_to_their_runs() -> None:
    failed = a_call("", proposer=2, name="b", status="failed", usage=None, cost_usd=None)
    html = summary_html([a_run(id="one"), a_run(a_call(), failed, id="two"), a_run(id="three")])
    assert re.findall(r'<details class="run" id="(.*?)">', html) == ["run-3", "run-2", "run-1"]
    assert '<a href="#run-2">run 2</a>' in html
    # Each id exists once, and each link of the page leads to one.
    ids = re.findall(r' id="(.*?)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(.*?)"', html)) <= set(ids)
    assert "langchain-moa report FILE --run two" in html


def test_a_long_list_folds_and_the_page_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.runs.summary._MOST_CHARACTERS", 100_000)
    html = summary_html(a_run(a_call("word " * 200), answer="word", id=f"run {number}") for number in range(300))
    assert "The latest 200 of 300." in html
    assert "175 more runs" in html
    # All 200 have a line, and the latest ones their calls.
    assert html.count('<details class="run"') == 200
    assert 20 < html.count('<ol class="graph">') < 40


def test_there_must_be_runs() -> None:
    with pytest.raises(ValueError, match="there are none to summarize; record some"):
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
