"""A comparison from its options to what is printed: the estimate, the progress, the table, the files."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from langchain_moa.cli.console import console_on, is_terminal, note, warn
from langchain_moa.cli.failing import UsageError, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from langchain_moa.evaluation.budget import Budget
    from langchain_moa.evaluation.comparison import Comparison, Result
    from langchain_moa.evaluation.figures import Summary
    from langchain_moa.evaluation.ledger import Ledger
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

JUDGE = "judge"
"""The scorer that compares answers with one another."""

# Exit codes above it say which signal ended a run.
_SIGNALLED = 128


class Comparing:
    """A comparison from its options to what is printed."""

    def __init__(
        self,
        *,
        mixture: Mixture,
        questions: Sequence[Question],
        scorer: str | None,
        judge: str | None,
        folder: Path,
        task: str,
        epochs: int,
        most: float | None,
        concurrency: int,
    ) -> None:
        """Make it.

        Args:
            mixture: The mixture.
            questions: The questions.
            scorer: How answers are scored; `None` takes what suits the questions.
            judge: Who compares them, if the scorer is `judge`.
            folder: Where everything is kept.
            task: What the questions are called.
            epochs: How often each is asked.
            most: US dollars that may be spent; `None` is no limit.
            concurrency: How many questions are under way at once.

        Raises:
            UsageError: The judge cannot be made, or is one too many or too few.
            EvaluationError: The scorer cannot be used.
            RowError: The scorer cannot compare one of the right answers.
        """
        from langchain_moa.evaluation.scorers import SUITING, resolve_scorer

        self._mixture = mixture
        self._questions = questions
        self._folder = folder
        self._epochs = epochs
        self._most = most
        self._concurrency = concurrency
        self._title = f"A mixture on {task}"
        self._judge = _judge(scorer, judge)
        self._scorer_name = scorer or SUITING
        self._score = None if self._judge else resolve_scorer(scorer, questions)

    def run(self, *, estimate: bool, as_json: bool, quiet: bool) -> None:
        """Compare, print what came of it, and write the files.

        Args:
            estimate: Whether only to say what it would cost.
            as_json: Whether to print everything as JSON.
            quiet: Whether to say nothing on standard error.

        Raises:
            EvaluationError: The money was not enough, or nothing but failures came.
            typer.Exit: Ctrl-C or SIGTERM came.
        """
        from langchain_moa.evaluation.budget import Budget
        from langchain_moa.evaluation.ledger import Ledger

        budget = Budget(self._most, max_tokens=self._mixture.max_tokens)
        ledger = Ledger(self._folder / "ledger.jsonl", budget=budget)
        self._estimate(ledger, quiet=quiet and not estimate)
        if estimate:
            return
        with ledger:
            results = self._results(ledger, budget, quiet=quiet)
        if not quiet:
            spent = f", ${budget.spent:.4f}" if budget.spent else ""
            note(f"{ledger.made:,} calls were made{spent}; all is in {self._folder}/, see report.html")
        self._report(results, as_json=as_json)

    def _estimate(self, ledger: Ledger, *, quiet: bool) -> None:
        from langchain_moa.evaluation.estimate import estimate

        found = estimate(self._mixture, self._questions, ledger, epochs=self._epochs, judge=self._judge)
        if self._most is not None and found.unpriced:
            msg = f"--max-cost-usd cannot be kept: the price of {', '.join(found.unpriced)} is not known"
            raise UsageError(msg)
        if quiet:
            return
        known = f", {found.known:,} of them answered before" if found.known else ""
        dollars = f"about ${found.usd_to_go:,.2f} to pay" if found.usd else "at prices that are not known"
        unpriced = f" and what {', '.join(found.unpriced)} costs" if found.usd and found.unpriced else ""
        note(
            f"{len(self._questions):,} questions, about {found.calls:,} calls{known}; {dollars}{unpriced}, with answers of "
            f"{found.answer_tokens} tokens; scorer: {self._scorer_name}"
        )
        if self._most is not None and found.usd_to_go > self._most:
            warn(f"${self._most:g} will not be enough; what is answered until then is kept")

    def _results(self, ledger: Ledger, budget: Budget, *, quiet: bool) -> list[Result]:
        from langchain_moa.cli.ending import run_until_signalled
        from langchain_moa.evaluation.comparison import Comparison
        from langchain_moa.evaluation.judge import Judge
        from langchain_moa.evaluation.recorded import recorded_model

        with _progress(budget, shown=not quiet and is_terminal(sys.stderr)) as on_answer:
            comparison: Comparison = Comparison(
                mixture=self._mixture,
                questions=self._questions,
                ledger=ledger,
                budget=budget,
                score=self._score,
                judge=Judge(model=recorded_model(self._judge, ledger, "judge")) if self._judge else None,
                epochs=self._epochs,
                concurrency=self._concurrency,
                on_answer=on_answer,
            )
            try:
                return run_until_signalled(comparison.run())
            except typer.Exit as ending:
                if ending.exit_code > _SIGNALLED and not quiet:
                    note(f"{len(ledger.entries):,} answers are kept in {self._folder}/; the same command goes on from there")
                raise

    def _report(self, results: Sequence[Result], *, as_json: bool) -> None:
        from langchain_moa.evaluation.figures import Summary
        from langchain_moa.evaluation.pareto import draw_pareto
        from langchain_moa.evaluation.report import document, markdown, page

        judged = self._judge is not None
        summary = Summary.of(results, judged=judged)
        picture = draw_pareto(summary.figures, title=self._title)
        text = document(summary, results, self._questions)
        html = page(summary, results, self._questions, title=self._title, picture=picture, judged=judged)
        (self._folder / "pareto.png").write_bytes(picture)
        (self._folder / "results.json").write_text(text, encoding="utf-8")
        (self._folder / "report.html").write_text(html, encoding="utf-8")
        (self._folder / "table.md").write_text(markdown(summary, judged=judged), encoding="utf-8")
        if as_json:
            typer.echo(text, nl=False)
        elif not is_terminal(sys.stdout):
            typer.echo(markdown(summary, judged=judged), nl=False)
        else:
            _print(summary, judged=judged)


def _judge(scorer: str | None, model: str | None) -> Member | None:
    """Return the judge that the options name, if they do; one without a key is an error here."""
    from langchain_moa.members.proposer import Proposer

    if scorer != JUDGE:
        if model is not None:
            msg = "--judge is for --scorer judge; give both, or neither"
            raise UsageError(msg)
        return None
    if model is None:
        msg = "--scorer judge needs --judge MODEL, 'provider:model'; best one that is no member of the mixture"
        raise UsageError(msg)
    try:
        return Proposer(model).resolve({})
    except (ValueError, ImportError) as error:
        msg = f"--judge: {explain(error)}"
        raise UsageError(msg) from error


@contextmanager
def _progress(budget: Budget, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show how many answers there are, and what they have cost."""
    if not shown:
        yield lambda _: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    answers, spent = TextColumn("{task.completed:,.0f} of {task.fields[of]} answers"), TextColumn("{task.fields[spent]}")
    columns = (SpinnerColumn(), answers, spent, TimeElapsedColumn())
    with Progress(*columns, console=console_on(sys.stderr), transient=True) as progress:
        bar = progress.add_task("", total=None, of="all", spent="")

        def advance(total: int) -> None:
            progress.update(bar, advance=1, total=total, of=f"{total:,}", spent=f"${budget.spent:.4f}" if budget.spent else "")

        yield advance


def _print(summary: Summary, *, judged: bool) -> None:
    from rich.table import Table

    from langchain_moa.evaluation.report import cells, is_priced, legend, titles

    priced = is_priced(summary)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, title in enumerate(titles(judged=judged, priced=priced)):
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for each in summary.figures:
        table.add_row(*cells(each, priced=priced), style="bold" if each.kind == "mixture" else "")
    output = console_on(sys.stdout)
    output.print(table)
    output.print(f"\n{legend(summary, judged=judged)}\n", style="dim")
    for verdict in summary.verdicts:
        output.print(verdict)
