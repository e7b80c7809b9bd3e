"""Files that lose nothing: lines that are appended one by one, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LineFile:
    """A file that lines are appended to, without a buffer: what was written outlives the process.

    Lines that cannot be written stay in memory, and `save` tries them again.

    Attributes:
        path: The file.
        end: Where the next line begins, behind the last whole one.
        unsaved: The lines that could not be written.
    """

    def __init__(self, path: Path, *, end: int) -> None:
        """Open the file for writing; only its owner can read it.

        Args:
            path: The file; it is made if it is not there.
            end: Behind its last whole line. What follows there, half a line of a process that was killed, is overwritten.

        Raises:
            OSError: It cannot be opened.
        """
        self.path = path
        self.end = end
        self.unsaved: list[bytes] = []
        self._file = open_private(path)

    def add(self, line: bytes) -> OSError | None:
        """Append a line; what is under way when one could not be written is kept for `save`, too.

        Args:
            line: The line, without its end.

        Returns:
            Why it could not be written, told once; `None` if it was, or if an earlier one could not be written either.
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
        """Try again to write what could not be written, and return whether all is in the file."""
        try:
            while self.unsaved:
                self._append(self.unsaved[0])
                del self.unsaved[0]
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Have the system write to the disk what it has of the file, so that it outlives a power failure, too.

        Raises:
            OSError: It cannot be written.
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
        except ValueError as error:  # closed meanwhile
            raise OSError(errno.EBADF, str(error)) from error
        except OSError:
            with suppress(OSError):
                self._file.truncate(self.end)
            raise
        self.end += len(line)


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of some bytes to a file without a buffer, which may take less at a time.

    Args:
        file: The file.
        data: The bytes.

    Raises:
        OSError: They cannot be written; the file may hold a part of them.
    """
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def write_whole(path: Path, content: str | bytes, *, errors: str = "strict") -> None:
    """Write a file that only you can read, beside its place first: a reader, or a full disk, never finds half of it.

    Args:
        path: The file.
        content: What it holds; a text is written as UTF-8.
        errors: What is done with half a character in a text, as `str.encode` takes it.

    Raises:
        OSError: It cannot be written; what was there before is still there. The text names the file and the reason.
    """
    aside = path.with_name(f".{path.name}.part")
    data = content.encode("utf-8", errors) if isinstance(content, str) else content
    try:
        with open_private(aside, truncate=True) as file:
            write_all(file, data)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or "it cannot be written", str(path)) from error


def open_private(path: Path, *, truncate: bool = False) -> FileIO:
    """Open a file for writing, readable for its owner alone.

    Args:
        path: The file; it is made if it is not there.
        truncate: Whether what it holds is removed.

    Raises:
        OSError: It cannot be opened.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if truncate else 0) | getattr(os, "O_BINARY", 0), 0o600)
    if hasattr(os, "fchmod"):
        with suppress(OSError):  # a file of another user that may be written
            os.fchmod(number, 0o600)
    return FileIO(number, "r+")
