"""Code shared by `batch`, `tune` and the `eval` commands: options, progress, and early ends."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli.console import complain, console_on, hide_log, is_terminal, note, warn
from langchain_moa.cli.exit_codes import FAILED
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path
    from typing import TypeVar

    from rich.progress import Progress

    from langchain_moa.batch.call_journal import CallJournal

    T = TypeVar("T")

RUN = "Run"

Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N questions.", rich_help_panel=RUN)
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency", metavar="N", min=1, help="Number of questions or rows that are processed at once.", rich_help_panel=RUN
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost-usd",
        metavar="USD",
        min=0,
        help="Limit in US dollars, including the cost of earlier runs into the same output.",
        rich_help_panel=RUN,
    ),
]

EstimateOnly = Annotated[
    bool,
    typer.Option("--estimate", help="Print the estimated cost without calling a model; no key is needed.", rich_help_panel=RUN),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.", rich_help_panel=RUN)]

_CENT = 0.01

SIGNALLED = 128
"""Exit codes above this are 128 plus the number of the signal that ended the run."""

DRAINING = "ending when the calls under way have answered; once more ends at once, and loses them"
"""The message after the first signal."""


class ProgressWatch:
    """Reports the progress of a run. This base class does nothing."""

    def __call__(self, done: int, total: int, noun: str) -> None:
        """Report how many of a total number of items are done, and the noun for the items."""


def run_to_the_end(work: Callable[[ProgressWatch], Coroutine[Any, Any, T]], journal: CallJournal, *, quiet: bool) -> T:
    """Run an evaluation, and show its progress.

    After Ctrl-C, SIGTERM, or when the budget is used up, no further call begins. Calls in progress are awaited, because they
    are paid for. A second signal cancels them.

    Args:
        work: Creates the coroutine to run, given a function that reports progress.
        journal: The journal of the calls.
        quiet: Whether to print only errors.

    Raises:
        typer.Exit: The run ended early. The code is 128 plus the signal number, or 1.
    """
    from langchain_moa.batch.limits import StoppedError
    from langchain_moa.cli.signals import run_until_signalled

    code = FAILED

    def drain(number: signal.Signals) -> None:
        nonlocal code
        code = SIGNALLED + number
        journal.gate.close("signal", f"{number.name} came")
        if not quiet:
            note(DRAINING)

    hide_log()  # the report has what would be logged as warnings
    try:
        with _watching(journal, quiet=quiet) as watch:
            return run_until_signalled(work(watch), drain=drain)
    except StoppedError as stopped:
        if stopped.reason != "signal":
            complain(str(stopped))
        _say_what_is_kept(journal, quiet=quiet)
        raise typer.Exit(code) from None
    except typer.Exit:
        _say_what_is_kept(journal, quiet=quiet)
        raise
    except Exception:
        # If the journal cannot be written, report that rather than errors that follow from it.
        if journal.gate.reason != "write":
            raise
        complain(journal.gate.why)
        _say_what_is_kept(journal, quiet=quiet)
        raise typer.Exit(FAILED) from None


def budget_refused(models: Sequence[str]) -> str:
    """Return the error message for a spending limit that cannot be enforced.

    Args:
        models: The models with an unknown price.
    """
    whose = f"the price of {models[0]}" if len(models) == 1 else f"the prices of {', '.join(models)}"
    return f"--max-cost-usd cannot be kept: {whose} {'is' if len(models) == 1 else 'are'} not known; leave the option out"


def confirm_spending(calls: int, *, yes: bool) -> None:
    """Ask for confirmation before any call is made, if standard input and error are terminals.

    Args:
        calls: The estimated number of calls.
        yes: Whether to skip the confirmation.

    Raises:
        typer.Abort: The user declined.
    """
    if calls and not yes and is_terminal(sys.stdin) and is_terminal(sys.stderr):
        typer.confirm(f"Make about {counted(calls, 'call')}?", abort=True, err=True)


def _say_what_is_kept(journal: CallJournal, *, quiet: bool) -> None:
    if not journal.save():
        warn(
            f"{counted(len(journal.unsaved), 'answer')} could not be written to {journal.path} and will be lost; free "
            "some space or correct its permissions, and run the same command, which asks for them again"
        )
    if not quiet:
        saved = len(journal) - len(journal.unsaved)
        kept = "1 answer is" if saved == 1 else f"{saved:,} answers are"
        note(f"{kept} kept in {journal.path}; run the same command to resume")


def require_no_ledger(path: Path) -> None:
    """Check that the output has no call ledger of an earlier version.

    Args:
        path: The ledger's file.

    Raises:
        EvaluationError: The file exists.
    """
    from langchain_moa.batch.limits import EvaluationError

    if path.exists():
        msg = (
            f"{path} is the ledger of an earlier version, which this version cannot read; give another --output, or remove the "
            "file, and its calls are made and paid for again"
        )
        raise EvaluationError(msg)


def progress_bar() -> Progress | None:
    """Return a progress bar on standard error, or `None` if that is not a terminal that supports one."""
    errors = console_on(sys.stderr)
    if not is_terminal(sys.stderr) or errors.is_dumb_terminal:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    return Progress(*columns, console=errors, transient=True)


@contextmanager
def _watching(journal: CallJournal, *, quiet: bool) -> Iterator[ProgressWatch]:
    if quiet:
        yield ProgressWatch()
    elif (bar := progress_bar()) is not None:
        with bar as progress:
            yield _Bar(progress, journal)
    else:
        yield _Lines(journal)


class _Bar(ProgressWatch):
    """Shows progress as a bar on a terminal."""

    def __init__(self, progress: Any, journal: CallJournal) -> None:
        self._progress = progress
        self._journal = journal
        self._task = progress.add_task("", total=None)

    def __call__(self, done: int, total: int, noun: str) -> None:
        self._progress.update(self._task, completed=done, total=total, description=_words(noun, self._journal))


class _Lines(ProgressWatch):
    """Prints a line for every tenth of the work."""

    def __init__(self, journal: CallJournal) -> None:
        self._journal = journal
        self._told = (0, "")

    def __call__(self, done: int, total: int, noun: str) -> None:
        told = (10 * done // total, noun)
        if told != self._told and told[0]:
            note(f"{done:,} of {total:,} {_words(noun, self._journal)}")
        self._told = told


def _words(noun: str, journal: CallJournal) -> str:
    return f"{noun}, ${journal.budget.spent:.2f}" if journal.budget.spent >= _CENT / 2 else noun
