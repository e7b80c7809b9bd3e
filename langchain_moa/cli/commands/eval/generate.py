"""`eval generate`: a mixture's answers in the form that a benchmark's official tool reads."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from langchain_moa.cli.choosing import DEFAULT_CONFIG, MixtureOptions
from langchain_moa.cli.console import console_on, is_terminal, note, one_line, warn
from langchain_moa.cli.failing import EXIT_CODES, FAILED, UsageError, explain, explained
from langchain_moa.cli.options import Aggregator, Config, Debug, Layers, Preset, Proposers, Quiet, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_moa.evaluation.generation import Generation, Outcome

app = typer.Typer()

_RUN = "Run"

_SHOWN_FAILURES = 3

Benchmark = Annotated[
    Literal["alpaca_eval", "mt_bench", "arena_hard", "flask"],
    typer.Option("--benchmark", "-b", help="Whose questions and answers these are."),
]
Questions = Annotated[
    Path, typer.Option("--questions", metavar="FILE", help="The benchmark's own question file, .json or .jsonl.")
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the answers go.")]
References = Annotated[
    list[Path] | None,
    typer.Option(
        "--references",
        metavar="FILE",
        help="Another model's answers, in the benchmark's form; give it once for each. They stand in for the proposers.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="What the mixture is called.  [dim]\\[default: the file's or preset's][/dim]"),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N questions.", rich_help_panel=_RUN)
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", min=1, help="Questions under way at once.", rich_help_panel=_RUN)
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost-usd", metavar="USD", min=0, help="Begin no question after so many dollars.", rich_help_panel=_RUN),
]
OwnSettings = Annotated[
    bool,
    typer.Option(
        "--own-settings",
        help="Temperature and longest answer as the mixture has them, not as the benchmark does; reasoning models need it.",
        rich_help_panel=_RUN,
    ),
]


@app.command(epilog=EXIT_CODES)
def generate(
    *,
    benchmark: Benchmark,
    questions: Questions,
    output: Output,
    references: References = None,
    name: Name = None,
    config: Config = None,
    preset: Preset = None,
    proposers: Proposers = None,
    aggregator: Aggregator = None,
    layers: Layers = None,
    settings: Settings = None,
    limit: Limit = None,
    concurrency: Concurrency = 8,
    max_cost_usd: MaxCost = None,
    own_settings: OwnSettings = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Write a mixture's answers to a benchmark's questions.

    The file is what AlpacaEval, FastChat (MT-Bench), Arena-Hard-Auto or FLASK
    reads. Beside it stands a journal: after Ctrl-C, or a crash, the same
    command goes on, and no call that was answered is made again.

    [dim]$[/dim] langchain-moa eval generate -b flask -c moa.yaml \
        --questions flask_evaluation.jsonl -o moa.jsonl
    """
    with explained(debug=debug):
        options = MixtureOptions(
            config=config, preset=preset, proposers=proposers, aggregator=aggregator, layers=layers, settings=settings
        )
        from langchain_moa.evaluation.generation import Generation
        from langchain_moa.evaluation.harnesses import HARNESSES
        from langchain_moa.evaluation.references import read_references
        from langchain_moa.rows import RowError, read_rows

        harness = HARNESSES[benchmark]
        try:
            asked = [harness.question(row) for row in read_rows(questions)][:limit]
            given = read_references(references, harness, asked) if references else None
        except RowError as error:
            raise UsageError(str(error)) from error
        try:
            generation = Generation(
                harness=harness,
                mixture=options.mixture(),
                questions=asked,
                journal=_journal_of(output),
                model=name or _name(options),
                references=given,
                concurrency=concurrency,
                max_cost_usd=max_cost_usd,
                own_settings=own_settings,
            )
        except ValueError as error:
            raise UsageError(explain(error)) from error
        if not quiet:
            turns = sum(len(question.turns) for question in asked)
            calls = turns * generation.calls_per_turn
            note(
                f"{len(asked)} questions, {turns} turns, {calls} calls for {harness.title}; the journal is {generation.journal}"
            )
        outcome = _run(generation, quiet=quiet)
        _write(output, generation.document(outcome))
        _report(outcome, len(asked), output, quiet=quiet)


def _run(generation: Generation, *, quiet: bool) -> Outcome:
    from langchain_moa.cli.ending import run_until_signalled
    from langchain_moa.evaluation.journal import JournalError

    try:
        generation.journal.parent.mkdir(parents=True, exist_ok=True)
        with _shown(len(generation.questions), quiet=quiet) as watch:
            return run_until_signalled(generation.run(watch))
    except (JournalError, ImportError) as error:
        raise UsageError(explain(error)) from error
    except typer.Exit:
        if not quiet:
            note("interrupted; the same command goes on where it was")
        raise


def _write(output: Path, text: str) -> None:
    # Whoever reads the file never finds half of it.
    half = output.with_name(f"{output.name}.part")
    half.write_text(text, encoding="utf-8")
    half.replace(output)


def _report(outcome: Outcome, asked: int, output: Path, *, quiet: bool) -> None:
    for question, reason in outcome.failed[:_SHOWN_FAILURES]:
        warn(f"no answer to the question of {question.row.place}: {one_line(reason)}")
    if outcome.ended == "cost":
        warn(f"--max-cost-usd: {outcome.cost_usd:.4f} dollars are spent, and what was begun has been brought to its end")
    elif outcome.ended == "failures":
        warn("too many questions have failed one after the other; the others were not asked")
    missing = asked - len(outcome.answered)
    if missing:
        warn(f"{output} lacks {missing} of {asked} answers; the same command asks for these again")
    elif not quiet:
        cost = f", {outcome.cost_usd:.4f} dollars" if outcome.cost_usd else ""
        note(f"{asked} answers, {outcome.kept} of them from the journal{cost}")
    typer.echo(output)
    if missing:
        raise typer.Exit(FAILED)


@contextmanager
def _shown(total: int, *, quiet: bool) -> Iterator[Callable[[Outcome], object]]:
    """Show how far it is: a bar on a terminal, ten lines in a log."""
    errors = console_on(sys.stderr)
    if quiet:
        yield lambda _: None
    elif is_terminal(sys.stderr) and not errors.is_dumb_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        with Progress(*columns, console=errors, transient=True) as progress:
            task = progress.add_task("", total=total)
            yield lambda outcome: progress.update(task, completed=outcome.done, description=_words(outcome))
    else:
        yield _Lines(total)


class _Lines:
    """Tells a log whenever another tenth is done."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._told = 0

    def __call__(self, outcome: Outcome) -> None:
        tenth = 10 * outcome.done // self._total
        if tenth > self._told:
            self._told = tenth
            note(f"{outcome.done} of {self._total} questions {_words(outcome)}".rstrip())


def _words(outcome: Outcome) -> str:
    failed: Sequence[str] = [f"{len(outcome.failed)} failed"] if outcome.failed else []
    cost = [f"${outcome.cost_usd:.2f}"] if outcome.cost_usd else []
    return " ".join([*failed, *cost])


def _journal_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.journal")


def _name(options: MixtureOptions) -> str:
    if options.preset:
        return options.preset
    config = options.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() and not options.proposers else None)
    return config.stem if config else "moa"
