"""The slash commands of a chat: parsing and implementation."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.cli.exit_codes import UsageError
from langchain_moa.data.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_moa.cli.chat.conversation import Chat, ChatTurn

SLASH = "/"


@dataclass(frozen=True, kw_only=True)
class ChatCommand:
    """A slash command.

    Attributes:
        name: The name, without the slash.
        takes: The placeholder of its argument in the help; empty if it takes none.
        help: A short description.
        do: The implementation, called with the chat and the argument.
        takes_file: Whether the argument is a file name, which the prompt can complete.
    """

    name: str
    help: str
    do: Callable[[Chat, str], None]
    takes: str = ""
    takes_file: bool = False

    @property
    def usage(self) -> str:
        """The name and the argument's placeholder."""
        return f"{SLASH}{self.name} {self.takes}".rstrip()


def is_slash(text: str) -> bool:
    """Return whether a line is a slash command. A question can start with a slash after another slash or a space."""
    return text.startswith(SLASH) and not text.startswith(2 * SLASH)


def question_in(text: str) -> str:
    """Return the question in a line that is not a command."""
    return text[1:] if text.startswith(2 * SLASH) else text.strip()


def find_command(text: str, commands: Sequence[ChatCommand]) -> tuple[ChatCommand, str]:
    """Parse a line, and return its command and argument.

    Args:
        text: The line. A unique prefix of a name is enough.
        commands: All commands.

    Raises:
        UsageError: The command is unknown, or takes no argument.
    """
    name, _, argument = text.removeprefix(SLASH).strip().partition(" ")
    exact = [command for command in commands if command.name == name.lower()]
    found = exact or [command for command in commands if name and command.name.startswith(name.lower())]
    if len(found) != 1:
        raise UsageError(_unknown(name, found or commands, is_beginning=bool(found)))
    command, argument = found[0], argument.strip()
    if argument and not command.takes:
        msg = f"{command.usage} takes no arguments"
        raise UsageError(msg)
    return command, argument


def _unknown(name: str, commands: Sequence[ChatCommand], *, is_beginning: bool) -> str:
    names = [f"{SLASH}{command.name}" for command in commands]
    if is_beginning:
        return f"{SLASH}{name} may be {' or '.join(names)}"
    close = get_close_matches(f"{SLASH}{name}", names, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"choose one of: {', '.join(names)}."
    return f"there is no command {SLASH}{name}; {remedy} To ask a question that begins with a slash, put a space before it."


_KEYS = (
    ("Enter", "ask; after a backslash, begin a new line"),
    ("Alt+Enter", "begin a new line"),
    ("Tab", "complete a command or a file's name"),
    ("↑ ↓", "earlier questions, also of earlier chats"),
    ("Ctrl-R", "search them; Enter takes what was found into the line"),
    ("Ctrl-C", "cancel the answer; at the prompt, clear what is typed"),
    ("Ctrl-L", "clear the screen"),
    ("Ctrl-D", "end the chat"),
)


def _help(chat: Chat, _: str) -> None:
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2, 0, 0))
    for command in COMMANDS:
        rows.add_row(Text(command.usage, "cyan"), command.help)
    rows.add_row("", "")
    for keys, what in _KEYS:
        rows.add_row(Text(keys, "bold"), what)
    chat.console.print(rows)


def _references(chat: Chat, _: str) -> None:
    from langchain_moa.cli.results import print_reference

    turn = _latest(chat)
    if not turn.references:
        msg = "the answer ended before its first layer was complete, so there are no references"
        raise UsageError(msg)
    for place, reference in enumerate(turn.references):
        if place:
            chat.console.line()
        print_reference(reference, chat.console)


def _graph(chat: Chat, argument: str) -> None:
    from langchain_moa.cli.chat.mixture_views import graph_boxes
    from langchain_moa.drawing import save_drawing
    from langchain_moa.drawing.diagram import read
    from langchain_moa.engine.graph import build_graph

    if not argument:
        chat.console.print(graph_boxes(read(build_graph(chat.mixture)), chat.turn, chat.console))
        if chat.mixture.may_stop:
            chat.console.print("It may stop after any layer.", style="dim")
        return
    path = _file(chat, argument, "/graph moa.svg")
    try:
        save_drawing(build_graph(chat.mixture), path)
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from error
    _written(chat, path)


def _usage(chat: Chat, _: str) -> None:
    from langchain_moa.cli.results import calls_table

    turn = _latest(chat)
    if turn.moa["calls"]:
        chat.console.print(calls_table(turn.moa, seconds=turn.seconds, width=chat.console.width))
        chat.console.line()
    chat.console.print(f"this chat: {chat.totals}", style="dim")


def _models(chat: Chat, _: str) -> None:
    from langchain_moa.cli.chat.mixture_views import members_table

    chat.console.print(members_table(chat.mixture, width=chat.console.width))
    if settings := chat.mixture.call_kwargs:
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        chat.console.print(f"\nevery call: {said}", style="dim")


def _save(chat: Chat, argument: str) -> None:
    path = _file(chat, argument, "/save chat.md, or /save chat.json")
    conversation = chat.conversation
    if not conversation.turns:
        msg = "there is no answer yet, so there is nothing to save"
        raise UsageError(msg)
    title = f"langchain-moa chat: {chat.source}".removesuffix(": ")
    text = conversation.to_json() if path.suffix.lower() == ".json" else conversation.to_markdown(title)
    write_whole(path, text, errors="replace")
    _written(chat, path)


def _report(chat: Chat, argument: str) -> None:
    path = _file(chat, argument, "/report run.html")
    turn = _latest(chat)
    if not turn.runs:
        msg = "that answer ended before its graph began, so there is nothing to report"
        raise UsageError(msg)
    try:
        turn.runs[-1].save(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _written(chat, path)


def _clear(chat: Chat, _: str) -> None:
    chat.conversation.turns.clear()
    chat.turn = None
    chat.console.rule("a new conversation", style="dim", align="left")


def _quit(chat: Chat, _: str) -> None:
    chat.is_over = True


def _latest(chat: Chat) -> ChatTurn:
    if chat.turn is None:
        msg = "there is no question yet in this conversation"
        raise UsageError(msg)
    return chat.turn


def _file(chat: Chat, argument: str, example: str) -> Path:
    """Return the path of a file to write. Existing files that this chat did not write are refused."""
    if not argument:
        msg = f"which file? {example}"
        raise UsageError(msg)
    path = Path(argument).expanduser()
    if path.exists() and path.resolve() not in chat.written:
        msg = f"{path} already exists; give another name"
        raise UsageError(msg)
    return path


def _written(chat: Chat, path: Path) -> None:
    chat.written.add(path.resolve())
    chat.console.print(f"written: {path}", style="dim", soft_wrap=True)


COMMANDS = (
    ChatCommand(name="references", help="what each proposer answered to the last question", do=_references),
    ChatCommand(
        name="graph", takes="[FILE]", help="the mixture and its calls; as a drawing in a file", do=_graph, takes_file=True
    ),
    ChatCommand(name="usage", help="time, tokens and cost of the last answer and of the whole chat", do=_usage),
    ChatCommand(name="models", help="the members and their settings", do=_models),
    ChatCommand(name="save", takes="FILE", help="write the conversation to a file: .md or .json", do=_save, takes_file=True),
    ChatCommand(
        name="report", takes="FILE", help="write a report of the last answer to a page: .html", do=_report, takes_file=True
    ),
    ChatCommand(name="clear", help="start a new conversation", do=_clear),
    ChatCommand(name="help", help="this list", do=_help),
    ChatCommand(name="quit", help="end the chat", do=_quit),
)
"""All commands, in the order of the help."""
