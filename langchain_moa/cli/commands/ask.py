"""`ask`: ask a mixture a question."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from langchain_moa.cli.arguments import OUTPUT, CallArguments, Debug, Plain, Quiet, with_arguments
from langchain_moa.cli.console import console_on, emit, is_terminal, printable, require_output, warn
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.cli.run_views import RunResult, RunView
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document: answer, references, usage, moa, error.", rich_help_panel=OUTPUT),
]
ShowReferences = Annotated[
    bool,
    typer.Option("--show-references", "-r", help="Show on standard error what each proposer answered.", rich_help_panel=OUTPUT),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Record the run: .html for a page, .json for one run, .jsonl to append it to a file of runs.",
        rich_help_panel=OUTPUT,
    ),
]
FirstTokens = Annotated[
    bool,
    typer.Option(
        "--first-tokens",
        help="With --report: stream the proposers, to record the time of their first tokens.",
        rich_help_panel=OUTPUT,
    ),
]

_STDIN = "-"

_PAGE_PACKAGES = ("jinja2", "markdown_it", "markupsafe")


@app.command(epilog=EXIT_CODES)
@with_arguments
def ask(
    question: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION", help="Your question; - reads it from standard input.", show_default=False),
    ] = None,
    *,
    mixture: MixtureArguments,
    calls: CallArguments,
    as_json: AsJson = False,
    show_references: ShowReferences = False,
    plain: Plain = False,
    report: Report = None,
    first_tokens: FirstTokens = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask a mixture a question.

    The answer is streamed to standard output. Progress, and a table with the
    time and cost of each call, go to standard error if that is a terminal.
    Text that is piped in is added to the question after a blank line.

    [dim]$[/dim] langchain-moa ask "Why is the sky blue?"
    [dim]$[/dim] langchain-moa ask --preset together-lite --show-references "..."
    [dim]$[/dim] langchain-moa ask -p openai:gpt-6-luna -a openai:gpt-6.1-sol "..."
    [dim]$[/dim] git diff | langchain-moa ask "What could break?" > review.md
    [dim]$[/dim] langchain-moa ask --report run.html "..."
    """
    with explained(debug=debug):
        require_output()
        check_report(report, first_tokens=first_tokens)
        text = read_question(question or (), sys.stdin)
        manner = _Manner(as_json=as_json, references=show_references, plain=plain, quiet=quiet)
        asked = mixture.load(quiet=quiet, overrides=calls.fields)
        with recorded(report, first_tokens=first_tokens):
            result = _run(asked, _messages(calls.system, text), manner)
        _report(result, manner)


def read_question(words: Sequence[str], stdin: TextIO | None) -> str:
    """Return the question: from the command's arguments, from standard input, or from both.

    Piped text is appended to the question after a blank line, as in `cat app.log | langchain-moa ask "What is wrong?"`.

    Args:
        words: The command's arguments; a single `-` reads standard input, even from a terminal.
        stdin: Standard input, or `None` if it is closed.

    Raises:
        UsageError: There is no question, or it is not UTF-8 text.
    """
    given = " ".join(words).strip()
    piped = ""
    if given == _STDIN or not is_terminal(stdin):
        piped = _read(stdin)
    question = "\n\n".join(part for part in (given if given != _STDIN else "", piped) if part)
    if not question:
        msg = 'there is no question; give one (langchain-moa ask "Why is the sky blue?") or pipe one in'
        raise UsageError(msg)
    try:
        question.encode()
    except UnicodeEncodeError as error:
        # Python decodes arguments that are not UTF-8 to lone surrogates, which cannot be sent to a model.
        msg = "the question is not UTF-8 text"
        raise UsageError(msg) from error
    return question


def _read(stdin: TextIO | None) -> str:
    if stdin is None or stdin.closed:
        return ""
    try:
        # Files from Windows may start with a byte order mark.
        return stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        msg = f"standard input is not UTF-8 text (byte {error.start}); pipe text in, or close it with </dev/null"
        raise UsageError(msg) from error


def check_report(report: Path | None, *, first_tokens: bool = False) -> None:
    """Check that the report can be written, before any call is made.

    Args:
        report: The file, or `None`.
        first_tokens: Whether to record the time of each first token.

    Raises:
        UsageError: The suffix of the file is not that of a report, its folder does not exist, packages are missing, or
            `first_tokens` is given without a report.
    """
    if report is None:
        if first_tokens:
            msg = "--first-tokens is for a report; give --report FILE, too"
            raise UsageError(msg)
        return
    from langchain_moa.runs.files import SUFFIXES

    if report.suffix.lower() not in SUFFIXES:
        msg = f"--report {report}: its name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which choose the format"
        raise UsageError(msg)
    if not report.parent.is_dir():
        msg = f"--report {report}: there is no folder {report.parent}"
        raise UsageError(msg)
    if report.suffix.lower() == ".html" and any(find_spec(package) is None for package in _PAGE_PACKAGES):
        msg = f'--report {report}: pages need another package: pip install "langchain-moa[report]"'
        raise UsageError(msg)


@contextmanager
def recorded(report: Path | None, *, first_tokens: bool = False) -> Iterator[None]:
    """Record the runs inside this context, and write the report on exit, even if a run failed or was cancelled.

    Args:
        report: The file, or `None` to record nothing.
        first_tokens: Whether to stream the proposers, to record the times of their first tokens.
    """
    if report is None:
        yield
        return
    from langchain_moa.runs import record_moa

    with record_moa(first_tokens=first_tokens) as runs:
        try:
            yield
        finally:
            for run in runs:
                try:
                    run.save(report)
                except OSError as error:
                    # A report that cannot be written must not lose the answer.
                    warn(f"the report could not be written: {error}")


@dataclass(frozen=True, kw_only=True)
class _Manner:
    """The options for output and recording."""

    as_json: bool
    references: bool
    plain: bool
    quiet: bool

    @property
    def shows_progress(self) -> bool:
        return not self.quiet and is_terminal(sys.stderr)


def _messages(system: str | None, text: str) -> list[BaseMessage]:
    from langchain_core.messages import HumanMessage, SystemMessage

    return [*([SystemMessage(system)] if system else []), HumanMessage(text)]


def _run(mixture: Mixture, messages: list[BaseMessage], manner: _Manner) -> RunResult:
    from langchain_moa.cli.answer import AnswerView
    from langchain_moa.cli.progress import ProgressView
    from langchain_moa.cli.results import ReferencesView, failure_document
    from langchain_moa.cli.run_views import run
    from langchain_moa.data.errors import MoAError

    errors = console_on(sys.stderr)
    views: list[RunView] = []
    answer: AnswerView | None = None
    with ExitStack() as shown:
        if manner.shows_progress:
            names = [[member.name for member in layer] for layer in mixture.members.layers]
            # The answer and the live view cannot share the last lines of one terminal.
            yields = not manner.as_json and is_terminal(sys.stdout)
            views.append(shown.enter_context(ProgressView(errors, names, yields=yields)))
        if manner.references and not manner.as_json:
            views.append(ReferencesView(errors))
        if not manner.as_json:
            answer = shown.enter_context(AnswerView(sys.stdout, plain=manner.plain))
            views.append(answer)
        try:
            result = run(mixture, messages, *views)
        except MoAError as error:
            if manner.as_json:
                _emit_document(failure_document(explain(error), error.references))
            raise
    if answer is not None and answer.error is not None:
        _rescue(result.answer, answer.error)
    return result


def _emit_document(document: str) -> None:
    try:
        emit(document)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        _rescue(document, error)


def _rescue(answer: str, error: OSError) -> None:
    """Write an answer to standard error if standard output failed, because the answer is paid for."""
    if sys.stderr is not None:
        sys.stderr.write(f"{printable(answer)}\n")
    msg = f"the answer could not be written to standard output ({error.strerror}); it is on standard error"
    raise OSError(msg)


def _report(result: RunResult, manner: _Manner) -> None:
    from langchain_moa.cli.results import calls_table, result_document
    from langchain_moa.cli.run_views import CUT

    if manner.as_json:
        _emit_document(result_document(result))
    elif manner.shows_progress:
        errors = console_on(sys.stderr)
        errors.line()
        errors.print(calls_table(result.moa, seconds=result.seconds, width=errors.width))
    if manner.quiet:
        return
    if not manner.shows_progress:
        # Without the live view, these remarks are the only notice of failed calls.
        for remark in result.remarks:
            warn(remark)
    elif result.is_cut:
        warn(f"{CUT}; raise it with --max-tokens")
