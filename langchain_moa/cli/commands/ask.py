"""`ask`: put a question to a mixture."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.choosing import MixtureOptions
from langchain_moa.cli.console import console_on, is_terminal, warn
from langchain_moa.cli.failing import EXIT_CODES, explain, explained
from langchain_moa.cli.loading import load
from langchain_moa.cli.options import (
    OUTPUT,
    Aggregator,
    Config,
    Debug,
    Layers,
    MaxTokens,
    Plain,
    Preset,
    Proposers,
    Quiet,
    Settings,
    System,
    Temperature,
    Timeout,
)
from langchain_moa.cli.question import read_question
from langchain_moa.cli.recording import check, recorded

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_moa.cli.running import Outcome, Watcher
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
        help="Write what happened: .html for a page, .json for one run, .jsonl to add it to many.",
        rich_help_panel=OUTPUT,
    ),
]

FirstTokens = Annotated[
    bool,
    typer.Option(
        "--first-tokens", help="With --report: stream the proposers, so that it has their first tokens.", rich_help_panel=OUTPUT
    ),
]


@app.command(epilog=EXIT_CODES)
def ask(
    question: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUESTION", help="Your question; - reads it from standard input.", show_default=False),
    ] = None,
    *,
    config: Config = None,
    preset: Preset = None,
    proposers: Proposers = None,
    aggregator: Aggregator = None,
    layers: Layers = None,
    settings: Settings = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
    show_references: ShowReferences = False,
    plain: Plain = False,
    report: Report = None,
    first_tokens: FirstTokens = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask a mixture a question.

    The answer goes to standard output as it comes. Progress, and a table of
    what each call took and cost, go to standard error if that is a terminal.
    Text that is piped in follows the question after a blank line.

    [dim]$[/dim] langchain-moa ask "Why is the sky blue?"
    [dim]$[/dim] langchain-moa ask --preset together-lite --show-references "..."
    [dim]$[/dim] langchain-moa ask -p openai:gpt-6-luna -a openai:gpt-6.1-sol "..."
    [dim]$[/dim] git diff | langchain-moa ask "What could break?" > review.md
    [dim]$[/dim] langchain-moa ask --report run.html "..."
    """
    with explained(debug=debug):
        check(report, first_tokens=first_tokens)
        text = read_question(question or (), sys.stdin)
        options = MixtureOptions(
            config=config,
            preset=preset,
            proposers=proposers,
            aggregator=aggregator,
            layers=layers,
            settings=settings,
            fields={"temperature": temperature, "max_tokens": max_tokens, "timeout": timeout},
        )
        manner = _Manner(as_json=as_json, references=show_references, plain=plain, quiet=quiet)
        mixture = load(options, quiet=quiet)
        with recorded(report, first_tokens=first_tokens):
            outcome = _run(mixture, _messages(system, text), manner)
        _report(outcome, manner)


@dataclass(frozen=True, kw_only=True)
class _Manner:
    """How the user wants to see it."""

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


def _run(mixture: Mixture, messages: list[BaseMessage], manner: _Manner) -> Outcome:
    from langchain_moa.cli.answering import Answer
    from langchain_moa.cli.progress import Progress
    from langchain_moa.cli.report import ShownReferences, failure_document
    from langchain_moa.cli.running import run
    from langchain_moa.data.errors import MoAError

    errors = console_on(sys.stderr)
    watchers: list[Watcher] = []
    with ExitStack() as watching:
        if manner.shows_progress:
            names = [[member.name for member in layer] for layer in mixture.members.layers]
            # The answer and the view cannot both hold the last lines of one terminal.
            yields = not manner.as_json and is_terminal(sys.stdout)
            watchers.append(watching.enter_context(Progress(errors, names, yields=yields)))
        if manner.references and not manner.as_json:
            watchers.append(ShownReferences(errors))
        if not manner.as_json:
            watchers.append(watching.enter_context(Answer(sys.stdout, plain=manner.plain)))
        try:
            return run(mixture, messages, *watchers)
        except MoAError as error:
            if manner.as_json:
                typer.echo(failure_document(explain(error), error.references))
            raise


def _report(outcome: Outcome, manner: _Manner) -> None:
    from langchain_moa.cli.report import document, table

    if manner.as_json:
        typer.echo(document(outcome))
    elif manner.shows_progress:
        errors = console_on(sys.stderr)
        errors.line()
        errors.print(table(outcome.moa, seconds=outcome.seconds, width=errors.width))
    if not manner.quiet and not manner.shows_progress:
        # Nobody has seen the live view; a log should still say what the answer had to do without.
        for words in outcome.moa.get("degraded", ()):
            warn(words)
