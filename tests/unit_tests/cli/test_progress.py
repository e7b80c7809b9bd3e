"""The live view follows the events of a run."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_moa.cli.progress import ProgressView
from tests.unit_tests.cli.screen import Screen

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"

NAMES = ["openai:gpt-6-luna", "the sceptic", "together:Qwen/Qwen3-235B-A22B-Instruct-2507-tput-with-a-very-long-name"]


class Seen:
    """A view on a console that keeps only permanent output, and the lines that it would draw now."""

    def __init__(self, *, width: int = 80, height: int = 24, layers: int = 2, proposers: list[str] = NAMES) -> None:
        self._screen = Screen(width=width, height=height)
        self.view = ProgressView(self._screen.console, [proposers] * layers, yields=True)

    def __call__(self, event: str, **data: Any) -> None:
        self.view.on_event({"moa": event, **data})

    def proposing(self, layer: int, *proposers: int) -> None:
        for number in proposers:
            self("proposing", layer=layer, proposer=number, name=NAMES[0], model=NAMES[0])

    def proposed(self, layer: int, proposer: int, status: str = "ok", reason: str = "") -> None:
        error = {"kind": "RateLimitError", "message": reason} if reason else None
        self("proposed", layer=layer, proposer=proposer, status=status, error=error, seconds=1.25)

    @property
    def stays(self) -> str:
        return self._screen.text

    @property
    def drawn(self) -> list[str]:
        return self._screen.drawn(self.view._render())


def test_a_layer_is_shown_proposer_by_proposer() -> None:
    seen = Seen()
    assert "starting" in seen.drawn[0]
    seen.proposing(1, 1, 2)
    seen.proposed(1, 2)
    title, *rows = seen.drawn
    assert "layer 1: 1/3 done" in title
    assert "openai:gpt-6-luna" in rows[0]
    assert rows[1].split() == ["✓", "the", "sceptic", "1.2", "s"]
    assert rows[0].index(" s") == rows[1].index(" s", 20)
    assert rows[2].split()[0] == "·"
    assert rows[2].endswith("waiting")
    assert max(map(len, seen.drawn)) <= 80


def test_a_finished_layer_leaves_a_line_and_its_failures() -> None:
    seen = Seen()
    seen.proposing(1, 1, 2, 3)
    seen.proposed(1, 1)
    seen.proposed(1, 2, "failed", "slow \x1b[31mdown")
    seen.proposed(1, 3, "late", "not done when enough were")
    assert "✗ the sceptic" in "\n".join(seen.drawn)
    seen("merged", layer=1, references=[1], fell_back=False, stopped=None)
    line, *failures = seen.stays.splitlines()
    assert line.startswith("! layer 1: 1/3 done")
    assert "✗ the sceptic: RateLimitError: slow [31mdown" in failures[0]
    assert "not done when enough were" in "".join(failures[1:])


def test_a_layer_takes_no_less_time_than_its_proposers() -> None:
    # The event of the beginning may come late: the clients of members are made first.
    seen = Seen()
    seen.proposing(1, 1)
    seen("proposed", layer=1, proposer=1, status="ok", error=None, seconds=1000.0)
    assert seen.drawn[0].endswith("1000.0 s")
    seen("merged", layer=1, references=[1], fell_back=False, stopped=None)
    assert seen.stays.splitlines()[0].endswith("1000.0 s")


@pytest.mark.parametrize("status", ["late", "cancelled"])
def test_a_proposer_that_was_not_waited_for_has_not_failed(status: str) -> None:
    seen = Seen()
    seen.proposing(1, 1, 2, 3)
    seen.proposed(1, 1)
    seen.proposed(1, 2)
    seen("proposed", layer=1, proposer=3, status=status, error={"kind": status, "message": "enough were done"}, seconds=1.0)
    assert "✗" not in "".join(seen.drawn)
    assert f"{status}: enough were done" in seen.drawn[-1]
    seen("merged", layer=1, references=[1, 2], fell_back=False, stopped=None)
    line, *remarks = seen.stays.splitlines()
    assert line.startswith(f"✓ layer 1: 2/3 done, 1 {status}")
    assert "✗" not in "".join(remarks)
    assert f"{status}: enough were done" in " ".join(" ".join(remarks).split())


def test_a_layer_without_a_good_answer_is_not_ticked() -> None:
    seen = Seen(proposers=NAMES[:1])
    seen.proposing(1, 1)
    seen("proposed", layer=1, proposer=1, status="late", error={"kind": "late", "message": "m"}, seconds=1.0)
    seen("merged", layer=1, references=[], fell_back=False)
    assert seen.stays.startswith("! layer 1: 0/1 done, 1 late")


def test_at_80_columns_a_long_name_leaves_room_for_the_error() -> None:
    seen = Seen(width=80, proposers=["together:" + "a-very-long-name-" * 5])
    seen.proposing(1, 1)
    seen.proposed(1, 1, "failed", "Slow down")
    row = seen.drawn[1]
    assert "RateLimitError: Slow down" in row
    assert len(row) <= 80


def test_every_layer_has_its_line() -> None:
    seen = Seen(width=200)
    for layer in (1, 2):
        seen.proposing(layer, 1, 2, 3)
        assert f"layer {layer}: 0/3 done" in seen.drawn[0]
        for number in (3, 1, 2):
            seen.proposed(layer, number)
        seen("merged", layer=layer, references=[1, 2, 3], fell_back=layer == 2, stopped="they agree" if layer == 2 else None)
    first, second = seen.stays.splitlines()
    assert first.startswith("✓ layer 1: 3/3 done")
    assert second.endswith("goes on with the layer before · stopped: they agree")


def test_the_aggregator_and_the_words_it_has_written() -> None:
    seen = Seen()
    seen("aggregating", name="openai:gpt-6.1-sol", model="openai:gpt-6.1-sol")
    assert "aggregator" in seen.drawn[0]
    assert "words" not in "".join(seen.drawn)
    seen.view.on_text("two words")
    assert seen.drawn[1].endswith("2 words")


def test_streamed_proposers_are_seen_from_their_first_token_on() -> None:
    screen = Screen()
    view = ProgressView(screen.console, [NAMES[:2]], yields=True, awaits_tokens=True)
    for number in (1, 2):
        view.on_event({"moa": "proposing", "layer": 1, "proposer": number, "name": NAMES[number - 1]})
    view.on_proposer_text(1, 2, "three words now")
    view.on_proposer_text(1, 2, " and more")
    view.on_proposer_text(1, 3, "nobody knows this one")
    _, first, second = screen.drawn(view._render())
    assert first.endswith("no token yet")
    assert second.endswith("first token 0.0 s · 5 words")


def test_a_failed_aggregator_is_named_and_its_stand_in_shown() -> None:
    seen = Seen()
    seen("aggregating", name="first", model="a:first")
    seen("aggregated", name="first", model="a:first", status="failed", error={"kind": "E", "message": "m"}, seconds=1.0)
    seen("aggregating", name="second", model="a:second")
    assert "✗ aggregator, first: E: m" in seen.stays
    assert "second" in seen.drawn[-1]


def test_the_calls_of_a_strategy_are_shown() -> None:
    seen = Seen()
    seen("asking", node="rank_1", name="peer", model="openai:a")
    seen("asking", node="rank_2", name="peer", model="openai:b")
    assert "strategy: 0/2 done" in seen.drawn[0]
    seen("asked", node="rank_1", name="peer", model="openai:a", status="ok", error=None, seconds=0.5)
    title, first, second = seen.drawn
    assert "strategy: 1/2 done" in title
    assert first.split()[:3] == ["✓", "rank_1:", "peer"]
    assert second.split()[1:3] == ["rank_2:", "peer"]
    error = {"kind": "Timeout", "message": "too slow"}
    seen("asked", node="rank_2", name="peer", model="openai:b", status="failed", error=error, seconds=0.5)
    assert "✗ strategy, rank_2: peer: Timeout: too slow" in seen.stays


def test_a_straggler_of_a_stage_that_is_over_is_told_all_the_same() -> None:
    seen = Seen()
    seen("asking", node="judge", name="ranker", model="openai:a")
    seen("aggregating", name="openai:a", model="openai:a")
    seen("asked", node="judge", name="ranker", status="failed", error={"kind": "E", "message": "m"}, seconds=0.5)
    assert "✗ strategy, judge: ranker: E: m" in seen.stays
    assert "aggregator" in seen.drawn[0]


def test_events_of_the_future_are_passed_over() -> None:
    seen = Seen()
    seen("something-new", what="ever")
    assert "starting" in seen.drawn[0]
    assert seen.stays == ""
    seen("proposing", layer=7, proposer=2, name="new", model="new")
    seen("proposed", layer=7, proposer=2, name="new", status="ok", error=None, seconds=1.0)
    seen("merged", layer=7, references=[2], fell_back=False)
    assert "layer 7: 1/2 done" in seen.stays


@pytest.mark.parametrize("height", [5, 10])
def test_the_view_never_fills_the_screen(height: int) -> None:
    seen = Seen(height=height, proposers=[f"openai:{number}" for number in range(30)])
    seen.proposing(1, *range(1, 31))
    assert len(seen.drawn) < height
    assert seen.drawn[-1].endswith("more")


def test_a_narrow_terminal_is_enough() -> None:
    seen = Seen(width=40)
    seen.proposing(1, 1, 2, 3)
    assert max(map(len, seen.drawn)) <= 40


def test_the_view_makes_room_for_the_answer_once() -> None:
    screen = Screen(is_terminal=True)
    with ProgressView(screen.console, [NAMES], yields=True) as view:
        assert view._live.is_started
        view.on_text(" ")
        hidden = screen.raw
        view.on_text("The")
        shown = screen.raw
        view.on_text(" answer")
    assert HIDE in hidden
    assert SHOW not in hidden
    assert shown.endswith("\n")
    assert SHOW in shown
    assert screen.raw == shown


def test_the_view_stays_where_the_answer_goes_elsewhere() -> None:
    screen = Screen(is_terminal=True)
    with ProgressView(screen.console, [NAMES], yields=False) as view:
        view.on_text("The answer")
        assert SHOW not in screen.raw
    assert SHOW in screen.raw


def test_a_dumb_terminal_gets_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen(is_terminal=True)
    with ProgressView(screen.console, [["a"]], yields=True) as view:
        view.on_event({"moa": "proposing", "layer": 1, "proposer": 1, "name": "a", "model": "a"})
        view.on_event({"moa": "proposed", "layer": 1, "proposer": 1, "status": "ok", "error": None, "seconds": 1.0})
        view.on_event({"moa": "merged", "layer": 1, "references": [1], "fell_back": False})
    assert "\x1b" not in screen.raw
    assert screen.raw.startswith("✓ layer 1: 1/1 done")
