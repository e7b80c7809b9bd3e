"""Files of runs: one as JSON or as a page, many as lines of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from langchain_moa.data.validation import explain
from langchain_moa.runs.run import MoARun

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

SUFFIXES = (".html", ".json", ".jsonl")


def save_run(run: MoARun, path: str | os.PathLike[str]) -> Path:
    """Write a run to a file, in the form that the file's name ends in; see `MoARun.save`."""
    file = checked_path(path)
    match file.suffix.lower():
        case ".html":
            run.to_html(file)
        case ".json":
            run.to_json(file)
        case _:
            append_run(run, file)
    return file


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return a path whose name ends in one of the forms that a run can be saved in.

    Raises:
        ValueError: It ends in anything else.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        msg = f"path: {file.suffix or 'no suffix'!r} of {file.name!r} is no form of a run; use one of {', '.join(SUFFIXES)}"
        raise ValueError(msg)
    return file


def append_run(run: MoARun, path: str | os.PathLike[str]) -> None:
    """Append a run to a file of many, a line of JSON for each.

    Args:
        run: The run.
        path: The file; it is made if it is not there.

    Raises:
        OSError: The file cannot be written.
    """
    with Path(path).open("a", encoding="utf-8") as file:
        # In one piece, so that programs that append at the same time do not come in between.
        file.write(run.model_dump_json() + "\n")


def read_runs(path: str | os.PathLike[str]) -> Iterator[MoARun]:
    """Read the runs of a file, one after the other: lines of JSON, or one run as JSON.

    Args:
        path: The file.

    Raises:
        ValueError: A line is no run, or of a version that this release does not know; the text names the file and the line.
        OSError: The file cannot be read.

    Example:
        ```python
        from langchain_moa.runs import read_runs

        slow = [run for run in read_runs("runs.jsonl") if run.seconds > 10]
        ```
    """
    file = Path(path)
    with file.open(encoding="utf-8") as lines:
        if file.suffix.lower() == ".json":
            yield _read(lines.read(), f"{file}")
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _read(line, f"{file}, line {number}")


def _read(text: str, place: str) -> MoARun:
    try:
        return MoARun.model_validate_json(text)
    except ValidationError as error:
        # What is wrong is mostly wrong all over, the first field says enough.
        first = explain(error).partition("; ")[0]
        msg = f"{place}: no recorded run: {first}"
        raise ValueError(msg) from error
