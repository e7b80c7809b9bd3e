"""The prompt of the chat: key bindings, completion, and the history of questions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.bindings.search import abort_search
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from langchain_moa.cli.chat.slash_commands import SLASH, is_slash
from langchain_moa.cli.console import warn
from langchain_moa.data.redaction import conceal, known_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.key_binding import KeyPressEvent

    from langchain_moa.cli.chat.slash_commands import ChatCommand

_PROMPT = "❯ "  # noqa: RUF001  # a prompt symbol
_CONTINUED = "  "
_BACKSLASH = "\\"

_HINT = "Ask the mixture something; /help says what else there is"
_HINT_AT_CTRL_C = "Ctrl-D ends the chat"

_STYLE = Style(
    [
        ("prompt", "bold ansicyan"),
        ("placeholder", "ansibrightblack"),
        ("completion-menu", "noinherit"),
        ("completion-menu.completion", "noinherit"),
        ("completion-menu.completion.current", "noinherit bold reverse"),
        ("completion-menu.meta.completion", "noinherit ansibrightblack"),
        ("completion-menu.meta.completion.current", "noinherit reverse"),
        ("scrollbar.background", "noinherit"),
        ("scrollbar.button", "noinherit reverse"),
    ]
)

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700


class ChatPrompt:
    """Reads single-line and multi-line input."""

    def __init__(self, commands: Sequence[ChatCommand], history: History) -> None:
        """Create the prompt.

        Args:
            commands: The slash commands to complete.
            history: The history of questions.
        """
        self._was_cleared = False
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", _PROMPT)],
            multiline=True,
            prompt_continuation=_CONTINUED,
            placeholder=lambda: [("class:placeholder", self._hint)],
            history=history,
            completer=_SlashCompleter(commands),
            complete_while_typing=Condition(lambda: is_slash(get_app().current_buffer.text)),
            key_bindings=self._keys(),
            style=_STYLE,
            # Set explicitly, because older releases ignore the variable.
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
            enable_suspend=True,
            reserve_space_for_menu=len(commands),
        )

    async def read(self) -> str:
        """Return the user's input.

        Raises:
            EOFError: The user ended the input with Ctrl-D.
        """
        self._was_cleared = False
        return await self._session.prompt_async()

    @property
    def _hint(self) -> str:
        hint = _HINT_AT_CTRL_C if self._was_cleared else _HINT
        app = get_app()
        # Show no hint on a narrow terminal, where it would need lines of its own, after the input, or during a history search,
        # which uses this line.
        fits = len(hint) + len(_PROMPT) < app.output.get_size().columns
        return hint if fits and not app.is_done and not is_searching() else ""

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        # A search (Ctrl-R) has its own keys: Enter accepts the match, Ctrl-C restores the line.
        typing = ~is_searching

        @keys.add("enter", filter=typing)
        def _enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith(_BACKSLASH):
                buffer.delete_before_cursor()
                buffer.newline(copy_margin=False)
            elif buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
                buffer.complete_state = None
            elif buffer.text.strip():
                buffer.validate_and_handle()

        @keys.add("escape", "enter", filter=typing)
        @keys.add("c-j", filter=typing)
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @keys.add("c-c", filter=typing)
        @keys.add("<sigint>", filter=typing)
        def _clear(event: KeyPressEvent) -> None:
            self._was_cleared = not event.current_buffer.text
            event.current_buffer.reset()

        keys.add("<sigint>", filter=is_searching)(abort_search)
        return keys


class _SlashCompleter(Completer):
    def __init__(self, commands: Sequence[ChatCommand]) -> None:
        self._commands = commands
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if not is_slash(text) or "\n" in text:
            return
        name, space, argument = text.removeprefix(SLASH).partition(" ")
        if not space:
            for command in self._commands:
                if command.name.startswith(name):
                    yield Completion(f"{SLASH}{command.name}", -len(text), display=command.usage, display_meta=command.help)
        elif any(command.takes_file and command.name == name for command in self._commands):
            yield from self._files.get_completions(Document(argument), complete_event)


class PrivateHistory(FileHistory):
    """A history in a file that only its owner can read.

    Values of environment variables with keys, and text that looks like a key, are masked. If the file cannot be written, there
    is one warning and the chat continues.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Args:
            path: The file.

        Raises:
            OSError: The file cannot be opened.
        """
        path.parent.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _OWNER_ONLY)
        os.close(descriptor)
        # An existing file may have other permissions, for example from a backup.
        path.chmod(_OWNER_ONLY)
        self._is_writable = True
        super().__init__(path)

    def store_string(self, string: str) -> None:
        """Write an entry with keys masked."""
        if not self._is_writable:
            return
        try:
            super().store_string(conceal(string, known_secrets()))
        except OSError as error:
            self._is_writable = False
            warn(f"your questions will not be saved: {error}")


def history_file() -> Path:
    """Return the path of the history, in the platform's state folder."""
    return user_state_path("langchain-moa", appauthor=False) / "chat-history"


def open_history(*, kept: bool) -> History:
    """Return the history.

    Args:
        kept: Whether to store it in a file; otherwise it is in memory.
    """
    if not kept:
        return InMemoryHistory()
    try:
        return PrivateHistory(history_file())
    except (OSError, RuntimeError) as error:  # platformdirs finds no home folder
        warn(f"your questions will not be saved: {error}")
        return InMemoryHistory()
