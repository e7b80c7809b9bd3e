"""`ask` as a person sees it."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

MEMBERS = ["-p", "openai:p", "-p", "openai:q", "-a", "openai:agg"]

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.mark.parametrize("width", [40, 200])
def test_progress_then_the_answer_then_the_table(program: Program, loopback: Loopback, width: int) -> None:
    loopback.script("q", Reply("Slow down.", status=429, headers={"x-should-retry": "false"}))
    loopback.script("agg", "The **answer**.")
    done = program.in_terminal("ask", *MEMBERS, "Why?", width=width)
    assert done.code == 0
    text = done.text
    first, second, answer, table = (
        text.rindex(words) for words in ("! layer 1: 1/2 done", "! layer 2: 1/2 done", "The answer.", "total")
    )
    assert first < second < answer < table
    assert "✗ openai:q" in text
    assert "Slow" in text
    assert "5 calls" in text
    assert done.out.count(HIDE) == done.out.count(SHOW) > 0
    assert done.out.rindex(SHOW) < done.out.rindex("total")


def test_the_layer_at_work_is_shown(program: Program, loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("q", Reply("late", gate=gate))
    at_work = "layer 1: 1/2 done"
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "Why?", seen=at_work, then=gate.open)
    assert done.code == 0
    assert at_work in done.text


def test_plain_leaves_markdown_as_it_is_and_no_escape_sequence(program: Program, loopback: Loopback) -> None:
    loopback.script("agg", "The **answer** \x1b]0;title\x07.")
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "--plain", "Why?")
    assert "The **answer** ]0;title." in done.text
    assert "\x1b]0" not in done.out


def test_no_color_means_none(program: Program, loopback: Loopback) -> None:
    loopback.script("q", Reply("no", status=400))
    program.env["NO_COLOR"] = "1"
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "Why?")
    assert done.code == 0
    colours = re.findall(r"\x1b\[[0-9;]*m", done.out)
    assert not any(re.search(r"[\[;](3[0-7]|9[0-7]|4[0-8]|38)[;m]", code) for code in colours)


def test_a_piped_answer_is_plain_while_the_terminal_shows_progress(program: Program, loopback: Loopback) -> None:
    loopback.script("agg", "The **answer**.")
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "Why?", stdout=subprocess.PIPE)
    assert (done.code, done.err) == (0, "The **answer**.\n")  # the pipe's side
    assert "✓ layer 1: 2/2 done" in done.text
    assert "total" in done.text
    assert "The answer" not in done.text


def test_json_shows_progress_and_no_table(program: Program) -> None:
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "--json", "Why?", stdout=subprocess.PIPE)
    assert done.err.startswith("{")
    assert "✓ layer 1: 2/2 done" in done.text
    assert "total" not in done.text


def test_quiet_shows_the_answer_alone(program: Program) -> None:
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "--quiet", "Why?")
    # The open block of the answer is drawn while it grows, and again when it is complete.
    lines = [line.strip() for line in re.split("[\r\n]", done.text) if line.strip()]
    assert lines[-1] == "agg says: Why?"
    assert all("agg says: Why?".startswith(line) for line in lines)


def test_a_question_can_be_typed(program: Program, loopback: Loopback) -> None:
    done = program.in_terminal("ask", *MEMBERS, "-l", "1", "-", type_at=0, typed=b"Why?\n\x04")
    assert done.code == 0
    assert loopback.requests[0].user == "Why?"


def test_ctrl_c_leaves_the_terminal_as_it_was(program: Program, loopback: Loopback) -> None:
    loopback.script("p", Reply(hang=True))
    done = program.in_terminal("ask", *MEMBERS, "Why?", type_at=2, typed=b"\x03")
    assert done.code == 130
    assert done.out.count(HIDE) == done.out.count(SHOW)
    assert "Traceback" not in done.text
    assert [request.model for request in loopback.settle() if request.disconnected] == ["p"]


def test_a_failure_takes_the_view_away(program: Program, loopback: Loopback) -> None:
    for model in ("p", "q"):
        loopback.script(model, Reply("no", status=400))
    done = program.in_terminal("ask", *MEMBERS, "Why?")
    assert done.code == 1
    assert done.out.count(HIDE) == done.out.count(SHOW) > 0
    assert "error: all 2 proposers in layer 1 failed" in done.text
