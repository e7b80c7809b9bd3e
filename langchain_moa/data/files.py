"""Writing files: whole and atomically, readable only by their owner, and with errors that name the file."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

# Questions and answers are private.
OWNER_ONLY = 0o600
"""The mode of a file that only its owner can read and write."""

BINARY = getattr(os, "O_BINARY", 0)
"""The flag of `os.open` for binary files, which only Windows has."""


def write_whole(path: str | os.PathLike[str], content: str | bytes, *, errors: str = "strict", mode: int = OWNER_ONLY) -> None:
    """Write a file atomically: write a temporary file in the same folder, which then replaces the file.

    A pipe or a device, which cannot be replaced, is written to directly.

    Args:
        path: The file. A symbolic link is followed.
        content: The content; strings are encoded as UTF-8.
        errors: The error handler of `str.encode`, for lone surrogates. Default: they are an error.
        mode: The mode of the file, from which the process's umask is subtracted. Default: only its owner can read it.

    Raises:
        OSError: Writing failed; an existing file is unchanged. The message names the file and the reason.
        UnicodeEncodeError: A string has a lone surrogate, and `errors` is `strict`.

    Example:
        ```python
        from langchain_moa.data.files import write_whole

        write_whole("answers.txt", "The sky is blue.")
        ```
    """
    file = Path(path)
    data = content.encode("utf-8", errors) if isinstance(content, str) else content
    with named_errors(file):
        if file.exists() and not file.is_file():
            file.write_bytes(data)
            return
        target = file.resolve()
        # A name derived from the file's own name could be too long.
        aside = target.with_name(f".{uuid4().hex}.tmp")
        try:
            with FileIO(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, mode), "w") as new:
                write_all(new, data)
                os.fsync(new.fileno())
            aside.replace(target)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise


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


def open_private(path: Path, *, truncate: bool = False) -> FileIO:
    """Open a file for reading and writing, readable only by its owner.

    Args:
        path: The file, which is created if it does not exist.
        truncate: Whether to remove its content.

    Raises:
        OSError: The file cannot be opened.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if truncate else 0) | BINARY, OWNER_ONLY)
    if hasattr(os, "fchmod"):
        with suppress(OSError):  # the file belongs to another user, but is writable
            os.fchmod(number, OWNER_ONLY)
    return FileIO(number, "r+")


@contextmanager
def named_errors(file: Path) -> Iterator[None]:
    """Add the file and the reason to an `OSError` raised in the context.

    Args:
        file: The file.
    """
    try:
        yield
    except OSError as error:
        # Python chooses the subclass of OSError by the number.
        raise OSError(error.errno, error.strerror or "it cannot be written", str(file)) from error
