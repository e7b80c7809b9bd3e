"""Slash commands: what a line that begins with a slash does."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from langchain_moa.cli.failing import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_moa.cli.chat.chat import Chat

SLASH = "/"


@dataclass(frozen=True, kw_only=True)
class Slash:
    """A command.

    Attributes:
        name: Its name, without the slash.
        takes: What it takes, as its help shows it; empty if nothing.
        help: What it does, in a few words.
        do: Does it, given the chat and what stands behind the name.
        takes_file: Whether it takes a file's name, which the prompt can complete.
    """

    name: str
    help: str
    do: Callable[[Chat, str], None]
    takes: str = ""
    takes_file: bool = False

    @property
    def usage(self) -> str:
        """How it is written."""
        return f"{SLASH}{self.name} {self.takes}".rstrip()


def is_slash(text: str) -> bool:
    """Tell whether a line is a command; a question may begin with a slash if another slash, or a space, stands before it."""
    return text.startswith(SLASH) and not text.startswith(2 * SLASH)


def question_in(text: str) -> str:
    """Return the question of a line that is no command."""
    return text[1:] if text.startswith(2 * SLASH) else text.strip()


def find(text: str, commands: Sequence[Slash]) -> tuple[Slash, str]:
    """Return the command that a line gives, and what stands behind its name.

    Args:
        text: The line; the beginning of a name is enough where only one command begins so.
        commands: All there are.

    Raises:
        UsageError: There is no such command, or it takes nothing; the text says what there is.
    """
    name, _, argument = text.removeprefix(SLASH).strip().partition(" ")
    exact = [command for command in commands if command.name == name.lower()]
    found = exact or [command for command in commands if name and command.name.startswith(name.lower())]
    if len(found) != 1:
        raise UsageError(_unknown(name, found or commands, is_beginning=bool(found)))
    command, argument = found[0], argument.strip()
    if argument and not command.takes:
        msg = f"{command.usage} takes nothing"
        raise UsageError(msg)
    return command, argument


def _unknown(name: str, commands: Sequence[Slash], *, is_beginning: bool) -> str:
    names = [f"{SLASH}{command.name}" for command in commands]
    if is_beginning:
        return f"{SLASH}{name} may be {' or '.join(names)}"
    close = get_close_matches(f"{SLASH}{name}", names, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}."
    return f"there is no {SLASH}{name}; {remedy} To ask a question that begins with a slash, put a space before it."
