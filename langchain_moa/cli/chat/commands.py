"""What the slash commands do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.cli.chat.slash import Slash
from langchain_moa.cli.failing import UsageError

if TYPE_CHECKING:
    from langchain_moa.cli.chat.chat import Chat
    from langchain_moa.cli.chat.turn import Turn

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
    from langchain_moa.cli.report import print_reference

    turn = _latest(chat)
    if not turn.references:
        msg = "no layer was done when that answer ended, so there are no references"
        raise UsageError(msg)
    for place, reference in enumerate(turn.references):
        if place:
            chat.console.line()
        print_reference(reference, chat.console)


def _graph(chat: Chat, argument: str) -> None:
    from langchain_moa.cli.chat.overview import overview
    from langchain_moa.drawing import save_drawing
    from langchain_moa.drawing.diagram import read

    if not argument:
        chat.console.print(overview(read(chat.mixture), chat.turn, chat.console))
        if chat.mixture.may_stop:
            chat.console.print("It may stop after any layer.", style="dim")
        return
    path = _file(chat, argument, "/graph moa.svg")
    try:
        save_drawing(chat.mixture, path)
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from error
    _written(chat, path)


def _usage(chat: Chat, _: str) -> None:
    from langchain_moa.cli.report import table

    turn = _latest(chat)
    if turn.moa["calls"]:
        chat.console.print(table(turn.moa, seconds=turn.seconds, width=chat.console.width))
        chat.console.line()
    chat.console.print(f"this chat: {chat.tally}", style="dim")


def _models(chat: Chat, _: str) -> None:
    from langchain_moa.cli.chat.members import members_table

    chat.console.print(members_table(chat.mixture, width=chat.console.width))
    if settings := chat.mixture.call_kwargs:
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        chat.console.print(f"\nevery call: {said}", style="dim")


def _save(chat: Chat, argument: str) -> None:
    path = _file(chat, argument, "/save chat.md, or /save chat.json")
    conversation = chat.conversation
    if not conversation.turns:
        msg = "nothing has been answered yet, so there is nothing to save"
        raise UsageError(msg)
    title = f"langchain-moa chat: {chat.source}".removesuffix(": ")
    text = conversation.to_json() if path.suffix.lower() == ".json" else conversation.to_markdown(title)
    path.write_text(text, encoding="utf-8")
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


def _latest(chat: Chat) -> Turn:
    if chat.turn is None:
        msg = "nothing has been asked yet in this conversation"
        raise UsageError(msg)
    return chat.turn


def _file(chat: Chat, argument: str, example: str) -> Path:
    """Return the file to be written: never one that this chat has not written itself."""
    if not argument:
        msg = f"which file? {example}"
        raise UsageError(msg)
    path = Path(argument).expanduser()
    if path.exists() and path.resolve() not in chat.written:
        msg = f"{path} is there already; give another name"
        raise UsageError(msg)
    return path


def _written(chat: Chat, path: Path) -> None:
    chat.written.add(path.resolve())
    chat.console.print(f"written: {path}", style="dim", soft_wrap=True)


COMMANDS = (
    Slash(name="references", help="what each proposer answered to the last question", do=_references),
    Slash(name="graph", takes="[FILE]", help="the mixture and its calls; as a drawing in a file", do=_graph, takes_file=True),
    Slash(name="usage", help="what the last answer and the whole chat took and cost", do=_usage),
    Slash(name="models", help="who is asked, with which settings", do=_models),
    Slash(name="save", takes="FILE", help="write the conversation to a file: .md or .json", do=_save, takes_file=True),
    Slash(name="report", takes="FILE", help="write all about the last answer to a page: .html", do=_report, takes_file=True),
    Slash(name="clear", help="forget the conversation and begin a new one", do=_clear),
    Slash(name="help", help="this list", do=_help),
    Slash(name="quit", help="end the chat", do=_quit),
)
"""All commands, in the order of the help."""
