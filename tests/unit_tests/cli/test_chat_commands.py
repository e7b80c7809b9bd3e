"""What the slash commands of a chat show, write and reject."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage

from langchain_moa import Mixture
from langchain_moa.cli.chat.conversation import Chat, ChatTurn, Conversation
from langchain_moa.cli.chat.slash_commands import COMMANDS, find_command
from langchain_moa.cli.exit_codes import UsageError
from langchain_moa.cli.run_views import RunResult
from tests.unit_tests.cli.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

USAGE = {"input_tokens": 1000, "output_tokens": 20, "total_tokens": 1020}


class Fake:
    """A chat and the output of its commands."""

    def __init__(self, **options: Any) -> None:
        members = {"proposers": ["openai:a", "openai:b"], "aggregator": "openai:agg", "api_key": "test", "num_layers": 1}
        self.screen = Screen(width=100)
        self.chat = Chat(Mixture(**{**members, **options}), self.screen.console, source="moa.yaml")

    def answered(self) -> Fake:
        call: Any = {"proposer": 1, "name": "openai:a", "model": "openai:a", "status": "ok", "seconds": 0.25, "usage": USAGE}
        references: Any = [
            {**call, "turn": "1", "layer": 1, "proposer": n, "text": f"Blue {n}.", "error": None} for n in (1, 2)
        ]
        moa = {"layers": [[call, call]], "aggregator": {**call, "name": "openai:agg"}, "calls": 3}
        result = RunResult(message=AIMessage("Blue."), references=references, usage=None, moa=moa, seconds=2.0)
        self.chat.turn = ChatTurn("Why?", result=result, references=references)
        self.chat.conversation = Conversation("Be brief.", [("Why?", "Blue.")])
        return self

    def type(self, line: str) -> str:
        before = len(self.screen.raw)
        command, argument = find_command(line, COMMANDS)
        command.do(self.chat, argument)
        return self.screen.raw[before:]


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("/references", "there is no question yet in this conversation"),
        ("/usage", "there is no question yet in this conversation"),
        ("/report run.html", "there is no question yet in this conversation"),
        ("/save chat.md", "there is no answer yet, so there is nothing to save"),
        ("/save", "which file? /save chat.md, or /save chat.json"),
        ("/report", "which file? /report run.html"),
    ],
)
def test_before_the_first_answer_there_is_nothing_to_show(line: str, refusal: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(refusal)}$"):
        Fake().type(line)


def test_the_help_names_every_command_and_the_keys() -> None:
    shown = Fake().type("/help")
    assert [command.name for command in COMMANDS if f"/{command.name}" not in shown] == []
    assert "Ctrl-C" in shown


def test_the_latest_answers_references_and_calls_are_shown() -> None:
    fake = Fake().answered()
    shown = fake.type("/references")
    assert "Blue 1." in shown
    assert "Blue 2." in shown
    shown = fake.type("/usage")
    assert "openai:agg" in shown
    assert "this chat:" in shown


def test_an_answer_that_ended_early_has_neither() -> None:
    fake = Fake()
    fake.chat.turn = ChatTurn("Why?")
    with pytest.raises(UsageError, match="ended before its first layer"):
        fake.type("/references")
    assert fake.type("/usage").startswith("this chat:")
    with pytest.raises(UsageError, match="there is nothing to report"):
        fake.type("/report run.html")


def test_the_members_are_listed_with_what_every_call_is_sent() -> None:
    assert "every call" not in Fake().type("/models")
    shown = Fake(temperature=0.5).type("/models")
    assert "openai:b" in shown
    assert "every call: temperature=0.5" in shown


def test_the_graph_is_shown_or_drawn(tmp_path: Path) -> None:
    fake = Fake()
    assert "may stop" not in fake.type("/graph")
    assert "It may stop after any layer." in Fake(num_layers=2, stop_when="agreement").type("/graph")
    file = tmp_path / "moa.svg"
    assert str(file.name) in fake.type(f"/graph {file}").replace("\n", "")
    assert file.read_text().startswith("<svg")
    with pytest.raises(UsageError):
        fake.type(f"/graph {tmp_path / 'moa.doc'}")


def test_a_conversation_is_saved_and_no_file_of_others_written(tmp_path: Path) -> None:
    fake = Fake().answered()
    fake.type(f"/save {tmp_path / 'chat.md'}")
    assert (tmp_path / "chat.md").read_text().startswith("# langchain-moa chat: moa.yaml\n\n## System\n\nBe brief.")
    fake.type(f"/save {tmp_path / 'chat.JSON'}")
    assert json.loads((tmp_path / "chat.JSON").read_text())[-1] == {"role": "assistant", "content": "Blue."}
    # The chat can overwrite files that it has written itself.
    fake.type(f"/save {tmp_path / 'chat.md'}")
    (tmp_path / "mine.md").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.md already exists; give another name"):
        fake.type(f"/save {tmp_path / 'mine.md'}")
    assert (tmp_path / "mine.md").read_text() == "mine"


def test_a_new_conversation_knows_nothing_of_the_old_one() -> None:
    fake = Fake().answered()
    assert "a new conversation" in fake.type("/clear")
    assert fake.chat.turn is None
    assert [message.text for message in fake.chat.conversation.asked("And?")] == ["Be brief.", "And?"]


def test_the_chat_can_be_left() -> None:
    fake = Fake()
    assert not fake.chat.is_over
    fake.type("/quit")
    assert fake.chat.is_over
