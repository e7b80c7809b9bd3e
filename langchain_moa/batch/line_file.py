"""A file to which lines are appended, which survives killed processes and full disks."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from langchain_moa.data.files import open_private, write_all

if TYPE_CHECKING:
    from pathlib import Path


class LineFile:
    """A file to which lines are appended, unbuffered, so that they survive a killed process.

    Lines that cannot be written stay in memory until `save` succeeds.

    Attributes:
        path: The file.
        end: The offset after the last complete line, where the next one begins.
        unsaved: The lines that could not be written.
    """

    def __init__(self, path: Path, *, end: int) -> None:
        """Open the file for writing, readable only by its owner.

        Args:
            path: The file, which is created if it does not exist.
            end: The offset after its last complete line. A partial line of a killed process after it is overwritten.

        Raises:
            OSError: The file cannot be opened.
        """
        self.path = path
        self.end = end
        self.unsaved: list[bytes] = []
        self._file = open_private(path)

    def add(self, line: bytes) -> OSError | None:
        """Append a line. After a failed write, further lines are only kept in memory, for `save`.

        Args:
            line: The line, without a newline.

        Returns:
            The error of the first failed write; `None` if the line was written or an earlier write failed.
        """
        self.unsaved.append(line + b"\n")
        if len(self.unsaved) > 1:
            return None
        try:
            self._append(self.unsaved[0])
        except OSError as error:
            return error
        self.unsaved.clear()
        return None

    def save(self) -> bool:
        """Try to write unsaved lines, and return whether all lines are in the file."""
        try:
            while self.unsaved:
                self._append(self.unsaved[0])
                del self.unsaved[0]
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Flush the file to disk, so that it survives a power failure.

        Raises:
            OSError: The file cannot be written.
        """
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: bytes) -> None:
        try:
            self._file.truncate(self.end)
            self._file.seek(self.end)
            write_all(self._file, line)
        except ValueError as error:  # the file was closed
            raise OSError(errno.EBADF, str(error)) from error
        except OSError:
            with suppress(OSError):
                self._file.truncate(self.end)
            raise
        self.end += len(line)
