"""Files of runs: their formats, and appending to and reading files of many runs."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from langchain_moa.data.files import BINARY, OWNER_ONLY, named_errors
from langchain_moa.data.sanitizing import replaced, shown_line, spelled_out
from langchain_moa.data.validation import explain
from langchain_moa.runs.run import MoARun

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".html", ".json", ".jsonl")
"""The suffixes of the supported formats."""

_logger = logging.getLogger("langchain_moa")


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Check that the suffix of a path is a supported format, and return the path.

    Args:
        path: The file.

    Raises:
        ValueError: The suffix is not supported.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        suffix = spelled_out(file.suffix) or "no suffix"
        msg = f"path: {suffix!r} of {file.name!r} is not a format of runs; use one of {', '.join(SUFFIXES)}"
        raise ValueError(msg)
    return file


def json_of(run: MoARun, *, indent: int | None = None) -> str:
    r"""Return a run as JSON in which every invisible and control character is escaped: `\u009b`.

    Args:
        run: The run.
        indent: Spaces of indentation; `None` for one line. Default: `None`.
    """
    return replaced(run.model_dump_json(indent=indent), _escaped)


def append_run(run: MoARun, path: str | os.PathLike[str]) -> None:
    """Append a run to a file of many runs, as one line of JSON.

    If the file ends with an incomplete line of a killed program, the run starts a new line, and `read_runs` skips the
    incomplete one. A file that does not exist is created, readable only by its owner.

    Args:
        run: The run.
        path: The file.

    Raises:
        OSError: The file cannot be written. The message has the file and the reason.
    """
    line = f"{json_of(run)}\n".encode()
    file = Path(path)
    with named_errors(file):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, OWNER_ONLY)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and (end := os.lseek(descriptor, 0, os.SEEK_END)):
                os.lseek(descriptor, end - 1, os.SEEK_SET)
                line = line if os.read(descriptor, 1) == b"\n" else b"\n" + line
            # Write the line at once if possible, so that programs that append at the same time do not mix their lines.
            while line:
                line = line[os.write(descriptor, line) :]
        finally:
            os.close(descriptor)


def read_runs(path: str | os.PathLike[str]) -> Iterator[MoARun]:
    """Iterate over the runs of a file, one at a time.

    Incomplete lines of programs that were killed while writing are skipped, with a warning by the logger `langchain_moa`.

    Args:
        path: The file: `.jsonl` with a run on each line, or `.json` with one run.

    Yields:
        The runs.

    Raises:
        ValueError: A complete line is not a run, or has a version that this release does not support. The message has the file
            and the line.
        OSError: The file cannot be read.

    Example:
        ```python
        from langchain_moa.runs import read_runs

        slow = [run for run in read_runs("runs.jsonl") if run.seconds > 10]
        ```
    """
    file = Path(path)
    shown = shown_line(file)
    if file.suffix.lower() == ".json":
        yield _read(file.read_bytes(), shown)
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                run = _read(line, f"{shown}, line {number}")
            except _IncompleteError:
                _logger.warning("%s, line %d: skipped, the line is incomplete", shown, number)
            else:
                yield run


class _IncompleteError(ValueError):
    """A line starts like a run, but is not complete JSON."""


def _read(text: bytes, place: str) -> MoARun:
    try:
        return MoARun.model_validate_json(text)
    except ValidationError as error:
        is_incomplete = error.errors()[0]["type"] == "json_invalid" and text.lstrip().startswith(b"{")
        # The first error is enough: if one field is invalid, usually many are.
        first = shown_line(explain(error).partition("; ")[0])
        msg = f"{place}: not a recorded run: {first}"
        raise (_IncompleteError if is_incomplete else ValueError)(msg) from error


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2))
