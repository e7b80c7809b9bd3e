"""The questions of earlier chats, for the up arrow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from platformdirs import user_state_path
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from langchain_moa.cli.console import warn
from langchain_moa.data.redaction import conceal, known_secrets

if TYPE_CHECKING:
    from pathlib import Path

_ONLY_OURS = 0o600
_ONLY_OUR_FOLDER = 0o700


class PrivateHistory(FileHistory):
    """A history in a file that only its owner can read, and that no key gets into.

    What the environment's variables for keys hold, and what looks like a key, is masked in it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Args:
            path: The file.

        Raises:
            OSError: It can be neither read nor written.
        """
        path.parent.mkdir(mode=_ONLY_OUR_FOLDER, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _ONLY_OURS)
        os.close(descriptor)
        # It may be there with other rights, from a backup for example.
        path.chmod(_ONLY_OURS)
        super().__init__(path)

    def store_string(self, string: str) -> None:
        """Write an entry, its keys masked."""
        super().store_string(conceal(string, known_secrets()))


def history_file() -> Path:
    """Return where the history is kept: in the platform's folder for what programs remember of their user."""
    return user_state_path("langchain-moa", appauthor=False) / "chat-history"


def open_history(*, kept: bool) -> History:
    """Return the history.

    Args:
        kept: Whether it is kept in a file; else it is this chat's alone.
    """
    if not kept:
        return InMemoryHistory()
    try:
        return PrivateHistory(history_file())
    except OSError as error:
        warn(f"what you ask will not be remembered: {error}")
        return InMemoryHistory()
