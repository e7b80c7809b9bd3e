"""Escape sequences in a member's name, answers and errors cannot control the terminal in any command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

# A title, hidden text, a color with a C1 control, a bidi override and isolate, a device control string, a hyperlink.
EVIL = (
    "evil\x1b]0;PWNED\x07\x1b[8mhidden\x9b31m\u202egnp\u2066\x1bPpayload\x1b\\"
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\"
)
# An answer can have its own lines; an error must not start one that looks like ours.
FORGED = f"{EVIL}\r\nerror: forged"
STEERING = ("\x1b]", "\x1b[8m", "\x9b", "\u202e", "\u2066", "\x1bP", "\x07", "\nerror: forged")

QUOTED = json.dumps(EVIL)
MIXTURE = f"""
proposers:
  - {{model: "openai:good", name: {QUOTED}}}
  - {{model: "openai:bad", name: {QUOTED}}}
  - {{model: {json.dumps("openai:" + EVIL)}}}
aggregator: "openai:agg"
num_layers: 1
max_retries: 0
"""

COMMANDS = {
    "ask": ["ask", "Why?"],
    "ask --plain": ["ask", "--plain", "Why?"],
    "ask --json": ["ask", "--json", "Why?"],
    "ask --show-references": ["ask", "--show-references", "Why?"],
    "ask that fails": ["ask", "--set", "min_references=3", "Why?"],
    "ask with a wrong option": ["ask", "--preset", FORGED, "Why?"],
    "show": ["show"],
    "draw": ["draw"],
    "models": ["models"],
    "models pull": ["models", "pull", FORGED],
    "presets": ["presets"],
    "report": ["report", FORGED],
    "eval compare": ["eval", "compare", "--task", "questions.jsonl", "-o", "compared", "--yes"],
    "eval generate": ["eval", "generate", "-b", "flask", "--questions", "flask.jsonl", "-o", "answers.jsonl"],
    "batch": ["batch", "rows.jsonl", "-o", "out.jsonl"],
    "tune": ["tune", "--task", "questions.jsonl", "-c", "candidates.yaml", "-o", "tuned", "--yes"],
    "doctor": ["doctor"],
}


@pytest.fixture(autouse=True)
def _hostile(loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("good", EVIL)
    loopback.script("bad", Reply(FORGED, status=400))
    loopback.script("agg", f"**{EVIL}**")
    (tmp_path / "moa.yaml").write_text(MIXTURE, encoding="utf-8")
    (tmp_path / "candidates.yaml").write_text(MIXTURE.partition("aggregator")[0], encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n', encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": EVIL, "question": EVIL}) + "\n", encoding="utf-8")
    (tmp_path / "flask.jsonl").write_text('{"idx": 1, "instruction": "1 + 1?"}\n', encoding="utf-8")


def steering_in(written: str) -> list[str]:
    return [sequence for sequence in STEERING if sequence in written.replace("\r\n", "\n")]


@pytest.mark.parametrize("args", COMMANDS.values(), ids=COMMANDS)
def test_no_command_lets_a_member_steer_the_terminal(program: Program, args: list[str]) -> None:
    done = program.in_terminal(*args, width=120)
    assert "Traceback" not in done.text
    assert done.text.strip()
    assert steering_in(done.out) == []


def test_no_slash_command_of_a_chat_does(program: Program, tmp_path: Path) -> None:
    program.env.update(PROMPT_TOOLKIT_NO_CPR="1", XDG_STATE_HOME=str(tmp_path / "state"))
    lines = [
        "Why?",
        "/references",
        "/usage",
        "/graph",
        "/models",
        "/save chat.md",
        f"/report {'x' * 300}.html",
        "/nothing",
        "/quit",
    ]
    done = program.in_terminal(
        "chat", width=120, type_after=b"/help says", typed="".join(f"{line}\r" for line in lines).encode()
    )
    assert done.code == 0
    assert "hidden" in done.text
    assert "written: chat.md" in done.text
    assert steering_in(done.out) == []


def test_no_name_of_a_served_mixture_does(program: Program, tmp_path: Path) -> None:
    mixture = {"proposers": ["openai:good"], "aggregator": "openai:agg"}
    (tmp_path / "served.yaml").write_text(json.dumps({"mixtures": {EVIL: mixture}}), encoding="utf-8")
    done = program.in_terminal("serve", "-c", "served.yaml", "--port", "0", type_after=b"with Ctrl-C", typed=b"\x03")
    assert "hidden" in done.text
    assert steering_in(done.out) == []


def test_the_document_of_json_is_the_answer_all_the_same(program: Program) -> None:
    done = program("ask", "--json", "Why?")
    assert json.loads(done.out)["answer"] == f"**{EVIL}**"
    assert not {"\x1b", "\x9b", "\u202e", "\x07"} & set(done.out)


def test_a_log_has_no_forged_line(program: Program) -> None:
    done = program("ask", "--set", "min_references=3", "Why?")
    assert done.code == 1
    assert "\nerror: forged" not in done.err
