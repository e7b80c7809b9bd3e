"""`chat` as a person uses it, in a terminal."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from langchain_moa.cli.chat.slash_commands import COMMANDS
from tests.integration_tests.cli.tmux import Terminal
from tests.loopback import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

MEMBERS = ["-p", "openai:p", "-p", "openai:q", "-a", "openai:agg", "--layers", "1", "--set", "max_retries=0"]
PROMPT = "❯ Ask the mixture something"  # noqa: RUF001  # the prompt's own sign
COLOR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")

PAGE = Path(__file__).parents[3] / "docs" / "chat.md"

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not on this machine: apt-get install tmux")


class Chats(Protocol):
    """The type of the fixture `chats`."""

    def __call__(self, *args: str, width: int = 80, height: int = 30) -> Terminal:
        """Start a chat in a terminal and wait for its prompt."""


@pytest.fixture
def chats(program: Program, tmp_path: Path) -> Iterator[Chats]:
    """Chats in their own terminals, with their history in the test's folder."""
    program.env["XDG_STATE_HOME"] = str(tmp_path / "state")
    # The socket's path must be short, but pytest's folders are not.
    with tempfile.TemporaryDirectory() as folder:
        terminals: list[Terminal] = []

        def start(*args: str, width: int = 80, height: int = 30) -> Terminal:
            terminal = Terminal(Path(folder), width, height)
            terminals.append(terminal)
            terminal.run(program.command("chat", *MEMBERS, *args), env=program.environment, folder=tmp_path)
            terminal.see(PROMPT)
            return terminal

        yield start
        for terminal in terminals:
            terminal.close()


@needs_tmux
@pytest.mark.parametrize(("width", "args"), [(80, []), (200, ["--no-color"])])
def test_a_conversation(chats: Chats, loopback: Loopback, width: int, args: list[str]) -> None:
    first, second = loopback.gate(), loopback.gate()
    loopback.script("p", [Reply("one two three", gate=first, after_chunks=2), "again"])
    loopback.script("q", [Reply("no", status=400), "again"])
    loopback.script("agg", [Reply("The **first** answer.", gate=second, after_chunks=2), "Second."])
    chat = chats(*args, "--system", "Be brief.", width=width)
    chat.say("Why?")
    working = chat.see("2 words")
    assert re.search(r"openai:p .* s  first token \d+\.\d s · 2 words", working)
    assert "✗ openai:q" in chat.see("Error code: 400")
    assert "layer 1: 1/2 done" in working
    first.open()
    chat.see("The first")
    second.open()
    answered = chat.see("3 calls · ")
    assert "! layer 1: 1/2 done" in answered
    assert "The first answer." in answered
    assert "no token yet" not in answered
    chat.say("And then?")
    chat.see("Second.")
    chat.see("3 calls · ", times=2)
    assert bool(COLOR.search(chat.colored)) is not bool(args)
    chat.say("/quit")
    assert chat.code == 0
    # The second turn sees the answer of the first, but not its references.
    proposer, aggregator = loopback.calls("p")[1], loopback.calls("agg")[1]
    assert proposer.roles == aggregator.roles == ["system", "user", "assistant", "user"]
    assert proposer.stream
    assert [message["content"] for message in proposer.messages] == ["Be brief.", "Why?", "The **first** answer.", "And then?"]
    assert "one two three" not in json.dumps(aggregator.messages)
    assert {len(line) <= width for line in chat.screen.splitlines()} == {True}


@needs_tmux
def test_ctrl_c_cancels_the_answer_and_not_the_chat(chats: Chats, loopback: Loopback) -> None:
    loopback.script("p", [Reply("p", hang=True), "p"])
    loopback.script("agg", [Reply("one two three", hang=True, after_chunks=2), "Done."])
    chat = chats()
    chat.say("First?")
    loopback.wait_for(2)
    chat.see("layer 1: 1/2")
    chat.press("C-c")
    chat.see("cancelled")
    assert [request.model for request in loopback.settle() if request.disconnected] == ["p"]
    chat.say("/usage")
    used = chat.see("this chat: 1 question, 2 calls")
    assert re.search(r"openai:p +\d+\.\d +cancelled$", used, re.MULTILINE)
    chat.say("Second?")
    chat.see("one two")
    chat.type("Third?")  # too early, but not lost, and not shown in the middle of the answer
    chat.press("C-c")
    cancelled = chat.see("cancelled", times=2)
    assert [request.model for request in loopback.settle() if request.disconnected] == ["p", "agg"]
    assert re.search("one two *\\n", cancelled)
    chat.see("❯ Third?")  # noqa: RUF001  # the prompt's own sign
    chat.press("Enter")
    chat.see("Done.")
    assert loopback.calls("agg")[-1].roles == ["system", "user"]
    chat.see(PROMPT)
    chat.type("never asked")
    chat.press("C-c")
    chat.see_no_more("never asked")
    chat.press("C-c")
    chat.see("Ctrl-D ends the chat")
    chat.press("C-d")
    assert chat.code == 0
    chat.see_no_more("Ctrl-D")
    assert len(loopback.settle()) == 8


@needs_tmux
def test_a_question_of_many_lines(chats: Chats, loopback: Loopback) -> None:
    chat = chats()
    chat.type("one\\")
    chat.press("Enter")
    chat.type("two")
    chat.press("M-Enter")
    chat.paste("three\n\n  four\n/help\n")
    chat.see("/help")
    chat.press("Enter")
    chat.see("3 calls · ")
    assert loopback.calls("p")[0].user == "one\ntwo\nthree\n\n  four\n/help"
    chat.say("//etc is what?")
    chat.see("3 calls · ", times=2)
    assert loopback.calls("p")[1].user == "/etc is what?"
    chat.press("Up")
    chat.press("Up")
    chat.see("  four", times=2)


@needs_tmux
def test_a_question_typed_during_an_answer_is_asked_next(chats: Chats, loopback: Loopback) -> None:
    gate = loopback.gate()
    loopback.script("agg", [Reply("One two three.", gate=gate, after_chunks=2), "Second."])
    chat = chats()
    chat.say("First?")
    chat.see("One two")
    chat.say("/usage")
    chat.say("Second?")
    gate.open()
    chat.see("Second.")
    chat.see("this chat: 1 question")
    assert loopback.calls("p")[1].user == "Second?"


@needs_tmux
def test_earlier_questions_are_searched(chats: Chats, loopback: Loopback) -> None:
    chat = chats()
    for number, question in enumerate(["Why is the sky blue?", "What do bees make?"], start=1):
        chat.say(question)
        chat.see("3 calls · ", times=number)
    chat.see(PROMPT)
    chat.press("C-r")
    chat.type("sky")
    chat.see("I-search backward: sky")
    found = chat.see("❯ Why is the sky blue?", times=2)  # noqa: RUF001  # the prompt's own sign
    assert "Ask the mixture" not in found
    chat.press("C-c")
    chat.see_no_more("I-search")
    chat.see(PROMPT)
    chat.press("C-r")
    chat.type("sky")
    chat.see("❯ Why is the sky blue?", times=2)  # noqa: RUF001  # as above
    chat.press("Enter")
    chat.see_no_more("I-search")
    assert len(loopback.requests) == 6
    chat.press("Enter")
    chat.see("3 calls · ", times=3)
    assert loopback.calls("p")[-1].user == "Why is the sky blue?"
    chat.say("Bees?")
    chat.see("3 calls · ", times=4)


@needs_tmux
def test_slash_commands(chats: Chats, loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("q", Reply("no", status=400))
    chat = chats(height=100)
    chat.say("/usage")
    chat.see("there is no question yet in this conversation")
    chat.say("Why?")
    chat.see("3 calls · ")
    chat.say("/help")
    helped = chat.see("end the chat", times=2)
    assert all(f"/{name}" in helped for name in ("references", "graph", "usage", "models", "save", "report", "clear", "quit"))
    chat.say("/ref")
    shown = chat.see("failed: OpenAIInvalidRequestError")
    assert "p says: Why?" in shown
    chat.say("/graph")
    assert "✗ openai:q" in chat.see("╭─ aggregator ─")
    chat.say("/graph moa.svg")
    chat.see("written: moa.svg")
    chat.say("/usage")
    chat.see("this chat: 1 question, 3 calls")
    chat.say("/models")
    chat.see("aggregator  openai:agg")
    chat.say("/save chat.md")
    chat.see("written: chat.md")
    chat.say("/save chat.json")
    chat.see("written: chat.json")
    chat.say("/report run.html")
    chat.see("written: run.html")
    chat.say("/report")
    chat.see("which file? /report run.html")
    chat.say("/wrong")
    chat.see("there is no command /wrong; choose one of: /references, /graph,")
    chat.say("/re x")
    chat.see("/re may be /references or /report")
    before = chat.screen.count("/graph [FILE]")
    chat.type("/gr")
    chat.see("/graph [FILE]", times=before + 1)
    chat.press("Tab")
    chat.see("❯ /graph", times=3)  # noqa: RUF001  # the prompt's own sign
    chat.press("C-c")
    chat.say("/clear")
    chat.see("a new conversation")
    chat.say("Again?")
    chat.see("3 calls · ", times=2)
    assert loopback.calls("agg")[-1].roles == ["system", "user"]
    assert "## You\n\nWhy?\n\n## Mixture\n\nagg says: Why?" in (tmp_path / "chat.md").read_text(encoding="utf-8")
    said = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))
    assert said == [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "agg says: Why?"}]
    assert "agg says: Why?" in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert (tmp_path / "moa.svg").read_text(encoding="utf-8").startswith("<svg")


@needs_tmux
def test_another_width_in_the_middle_of_an_answer(chats: Chats, loopback: Loopback) -> None:
    layer, answer = loopback.gate(), loopback.gate()
    loopback.script("p", Reply("p", gate=layer))
    loopback.script("q", Reply("The server of this proposer has been taken away for good. " * 3, status=400))
    loopback.script("agg", Reply(f"Begun {'word ' * 40}", gate=answer, after_chunks=41))
    chat = chats(width=200)
    chat.say("Why?")
    chat.see("has been taken away")
    chat.resize(70, 30)
    chat.see("T…")
    assert chat.screen.count("layer 1:") == 1
    layer.open()
    chat.see("word word")
    chat.resize(40, 30)
    chat.resize(120, 25)
    answer.open()
    done = chat.see("3 calls · ")
    assert done.count("layer 1:") == 1
    assert done.count("Begun") == 1
    assert done.count("word") == 40


@needs_tmux
def test_no_line_of_a_long_answer_is_lost_or_shown_twice(chats: Chats, loopback: Loopback) -> None:
    # A view that is redrawn ten times a second, while paragraphs are printed above it.
    paragraphs = [f"Paragraph {number}: {'the quick **brown** fox jumps over the lazy dog. ' * 3}\n\n" for number in range(400)]
    loopback.script("agg", Reply("".join(paragraphs), chunks=paragraphs, chunk_delay=0.01))
    chat = chats()
    chat.say("Why?")
    done = chat.see("3 calls · ")
    shown = done[done.index("Paragraph 0") : done.index("3 calls · ")].split()
    assert shown == "".join(paragraphs).replace("**", "").split()


@needs_tmux
def test_what_fails_is_told_and_the_chat_goes_on(chats: Chats, loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("agg", [Reply("Out of order.", status=500), "Here."])
    chat = chats()
    chat.say("My key is sk-abcdefghijklmnop1234567890, why?")
    chat.see("error: the aggregator openai:agg failed")
    assert "/references shows 2 good answers of the proposers" in chat.screen
    assert "Traceback" not in chat.screen
    assert "`references`" not in chat.screen
    chat.say("/usage")
    used = chat.see("this chat: 1 question, 3 calls")
    assert re.search(r"^layer 1 +openai:p +\d+\.\d +\d+ +\d+$", used, re.MULTILINE)
    assert re.search(r"^aggregator +openai:agg +\d+\.\d +failed$", used, re.MULTILINE)
    chat.say("/graph")
    assert re.search(r"✗ openai:agg", chat.see("╭─ aggregator ─"))
    chat.say("/references")
    chat.see("q says: My key")
    for _ in range(4):
        chat.press("Up")
    chat.see("why?", times=4)
    chat.press("Enter")
    chat.see("Here.")
    assert loopback.calls("agg")[-1].roles == ["system", "user"]
    history = tmp_path / "state" / "langchain-moa" / "chat-history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert history.parent.stat().st_mode & 0o777 == 0o700
    remembered = history.read_text(encoding="utf-8")
    assert "My key is **********, why?" in remembered
    assert "sk-" not in remembered


@needs_tmux
def test_nothing_is_remembered_on_request(chats: Chats, tmp_path: Path) -> None:
    chat = chats("--no-history")
    chat.say("Why?")
    chat.see("3 calls · ")
    chat.press("C-d")
    assert chat.code == 0
    assert not (tmp_path / "state").exists()


def test_without_a_terminal_it_names_ask(moa: Command) -> None:
    done = moa("chat", *MEMBERS, stdin="Why?\n")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: a chat needs a terminal")
    assert "langchain-moa ask" in done.err


def test_the_page_on_the_chat_has_every_command_and_its_code_runs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `/(.+?)` \|", page, re.MULTILINE) == [command.usage.removeprefix("/") for command in COMMANDS]
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    *before, last = block.strip().splitlines()
    reader: dict[str, Any] = {}
    exec("\n".join(before), reader)  # noqa: S102  # our own page
    assert "<svg" in eval(last, reader)._repr_html_()  # noqa: S307  # as above
