"""Safe writing of files: append line by line, or write the whole file atomically."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import FileIO
from typing import TYPE_CHECKING

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


def write_all(file: FileIO, data: bytes) -> None:
    """Write bytes to an unbuffered file, repeating partial writes until all are written.

    Args:
        file: The file.
        data: The bytes.

    Raises:
        OSError: Writing failed; the file may have a part of the bytes.
    """
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def write_whole(path: Path, content: str | bytes, *, errors: str = "strict") -> None:
    """Write a file atomically, readable only by its owner: write a temporary file next to it, then rename that.

    Args:
        path: The file.
        content: The content; strings are encoded as UTF-8.
        errors: The error handler of `str.encode`, for lone surrogates.

    Raises:
        OSError: Writing failed; an existing file is unchanged. The message names the file and the reason.
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
    """Open a file for writing, readable only by its owner.

    Args:
        path: The file, which is created if it does not exist.
        truncate: Whether to remove its content.

    Raises:
        OSError: The file cannot be opened.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if truncate else 0) | getattr(os, "O_BINARY", 0), 0o600)
    if hasattr(os, "fchmod"):
        with suppress(OSError):  # the file belongs to another user, but is writable
            os.fchmod(number, 0o600)
    return FileIO(number, "r+")
