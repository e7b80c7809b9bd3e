"""Recording what a command asks, for a report of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_moa.cli.console import warn
from langchain_moa.cli.failing import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check(report: Path | None, *, first_tokens: bool = False) -> None:
    """Refuse a report that could not be written, before anybody is asked and paid.

    Args:
        report: The file.
        first_tokens: Whether it is to have the time of every first token.

    Raises:
        UsageError: The file's name ends in no form of a report, its folder is not there, or there is none to have the times.
    """
    if report is None:
        if first_tokens:
            msg = "--first-tokens is for a report; give --report FILE, too"
            raise UsageError(msg)
        return
    from langchain_moa.runs.files import SUFFIXES

    if report.suffix.lower() not in SUFFIXES:
        msg = f"--report {report}: its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which say what to write"
        raise UsageError(msg)
    if not report.parent.is_dir():
        msg = f"--report {report}: there is no folder {report.parent}"
        raise UsageError(msg)


@contextmanager
def recorded(report: Path | None, *, first_tokens: bool = False) -> Iterator[None]:
    """Record what is asked inside, and write the report, also of a run that failed or was ended.

    Args:
        report: The file; `None`: nothing is recorded.
        first_tokens: Whether the proposers are streamed, so that the times of their first tokens are known.
    """
    if report is None:
        yield
        return
    from langchain_moa.runs.recorder import record_moa

    with record_moa(first_tokens=first_tokens) as runs:
        try:
            yield
        finally:
            for run in runs:
                try:
                    run.save(report)
                except OSError as error:
                    # The answer is there; it is not to be lost over its report.
                    warn(f"the report could not be written: {error}")
