"""`eval compare`: compare a mixture with its members on your questions, in quality and cost."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.arguments import Debug, Quiet, with_arguments
from langchain_moa.cli.console import complain, console_on, is_terminal, note, warn
from langchain_moa.cli.evaluating import (
    Concurrency,
    EstimateOnly,
    Limit,
    MaxCost,
    Yes,
    budget_refused,
    confirm_spending,
    require_no_ledger,
    run_to_the_end,
)
from langchain_moa.cli.exit_codes import EXIT_CODES, FAILED, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.comparison import ComparisonResult
    from langchain_moa.evaluation.estimate import Estimate
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.evaluation.summary import ComparisonSummary
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

_JUDGE = "judge"
"""The name of the scorer that compares answers with each other."""

_GSM8K = "gsm8k"

_QUESTIONS = "Questions"

Task = Annotated[
    str,
    typer.Option("--task", "-t", metavar="FILE", help="A JSONL or CSV file with questions and answers, or gsm8k."),
]
ScorerName = Annotated[
    str | None,
    typer.Option(
        "--scorer",
        "-s",
        metavar="NAME",
        help="exact, numeric, math, judge, or file.py:function.  "
        "[dim]\\[default: numeric where the answer is a number, exact elsewhere][/dim]",
    ),
]
JudgeModel = Annotated[
    str | None,
    typer.Option("--judge", metavar="MODEL", help="The model that compares answers with --scorer judge, 'provider:model'."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Folder for the results and the journal.  [dim]\\[default: moa-eval/ and the task's name][/dim]",
    ),
]
QuestionField = Annotated[
    str | None,
    typer.Option("--question-field", metavar="KEY", help="The key of the question.", rich_help_panel=_QUESTIONS),
]
AnswerField = Annotated[
    str | None, typer.Option("--answer-field", metavar="KEY", help="The key of the answer.", rich_help_panel=_QUESTIONS)
]
Epochs = Annotated[
    int,
    typer.Option(
        "--epochs", metavar="N", min=1, help="Number of times that each question is asked.", rich_help_panel=_QUESTIONS
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]


@app.command(epilog=EXIT_CODES)
@with_arguments
def compare(
    *,
    task: Task,
    scorer: ScorerName = None,
    judge: JudgeModel = None,
    output: Output = None,
    question_field: QuestionField = None,
    answer_field: AnswerField = None,
    limit: Limit = None,
    epochs: Epochs = 1,
    max_cost_usd: MaxCost = None,
    concurrency: Concurrency = 8,
    estimate: EstimateOnly = False,
    yes: Yes = False,
    as_json: AsJson = False,
    mixture: MixtureArguments,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Compare a mixture with its members on your questions.

    The variants are the mixture, each member alone, the best member sampled as
    often as the mixture makes calls (Self-MoA), and the aggregator after each
    layer. Calls that several variants need are made once. After Ctrl-C, no
    further calls start, and those that are running are awaited; a second
    Ctrl-C ends the run at once. Run the same command again to resume: no
    answered call is made again.

    [dim]$[/dim] langchain-moa eval compare -c moa.yaml --task questions.jsonl --limit 50
    """
    with explained(debug=debug):
        from langchain_moa.batch.limits import BatchError
        from langchain_moa.data.rows import RowError
        from langchain_moa.evaluation.scorers import BY_ANSWER_TYPE, resolve_scorer

        _require_extra()
        try:
            needs_answers = scorer != _JUDGE and ".py:" not in (scorer or "")
            questions = _questions(task, question_field, answer_field, limit, needs_answers=needs_answers)
            order = _CompareJob(
                mixture=mixture.mixture(asked=not estimate, quiet=quiet),
                questions=questions,
                score=_judge_of(scorer, judge, asked=not estimate) or resolve_scorer(scorer, questions),
                scorer=f"{_JUDGE}, {judge}" if scorer == _JUDGE else scorer or BY_ANSWER_TYPE,
                folder=output or Path("moa-eval") / (_GSM8K if task == _GSM8K else Path(task).stem),
                title=f"A mixture on {task}",
                epochs=epochs,
                max_cost_usd=max_cost_usd,
                concurrency=concurrency,
            )
            order.estimate(quiet=quiet and not estimate)
            if not estimate:
                order.confirm(yes=yes)
                order.run(as_json=as_json, quiet=quiet)
        except (BatchError, RowError) as error:
            raise UsageError(explain(error)) from error


def _require_extra() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        msg = 'eval compare needs more packages: pip install "langchain-moa[eval]"'
        raise UsageError(msg)


def _questions(
    task: str, question_field: str | None, answer_field: str | None, limit: int | None, *, needs_answers: bool
) -> list[Question]:
    from langchain_moa.evaluation.questions import gsm8k, read_questions

    if task == _GSM8K:
        return gsm8k(limit=limit)
    return read_questions(
        task, question_field=question_field, answer_field=answer_field, needs_answers=needs_answers, limit=limit
    )


@dataclass(frozen=True, kw_only=True)
class _CompareJob:
    """A comparison: the estimate, the run, the table and the files.

    Attributes:
        mixture: The mixture.
        questions: The questions.
        score: The scorer, or the judge that compares answers.
        scorer: A description of the scorer.
        folder: The output folder.
        title: The heading of the report.
        epochs: How often each question is asked.
        max_cost_usd: The spending limit in US dollars, or `None`.
        concurrency: The maximum number of concurrent questions.
    """

    mixture: Mixture
    questions: Sequence[Question]
    score: Scorer | Member
    scorer: str
    folder: Path
    title: str
    epochs: int
    max_cost_usd: float | None
    concurrency: int

    def estimate(self, *, quiet: bool = False) -> None:
        """Print the estimated number of calls and their cost.

        Args:
            quiet: Whether to print only errors.

        Raises:
            UsageError: There is a spending limit, and a price is unknown.
            BatchError: The folder is in use, or belongs to something else.
        """
        require_no_ledger(self.folder / "ledger.jsonl")
        found, spent = self._estimate()
        if self.max_cost_usd is not None and found.unpriced:
            raise UsageError(budget_refused(found.unpriced))
        if quiet:
            return
        known = f", {found.known:,} of them answered before" if found.known else ""
        without = f" without the price of {', '.join(found.unpriced)}, which is not known" if found.unpriced else ""
        cost = "no price is known"
        if found.usd or not found.unpriced:
            cost = f"about ${found.usd:,.2f} to pay{without}, with answers of {found.answer_tokens:,} tokens"
        number = counted(len(self.questions), "question")
        note(f"{number}, about {counted(found.calls, 'call')}{known}; {cost}; scorer: {self.scorer}")
        if self.max_cost_usd is not None and spent + found.usd > self.max_cost_usd:
            before = f" (${spent:.2f} of it is spent)" if spent else ""
            warn(f"${self.max_cost_usd:g}{before} will not be enough; the answers until then are kept")

    def confirm(self, *, yes: bool) -> None:
        """Ask for confirmation before any call is made, if there is a terminal.

        Args:
            yes: Whether to skip the confirmation.

        Raises:
            typer.Abort: The user declined.
        """
        found, _ = self._estimate()
        confirm_spending(found.calls - found.known, yes=yes)

    def run(self, *, as_json: bool, quiet: bool) -> None:
        """Run the comparison, print the results, and write the files.

        Args:
            as_json: Whether to print the results as JSON.
            quiet: Whether to print only errors on standard error.

        Raises:
            BatchError: The folder is in use, or the scorer failed.
            typer.Exit: The run ended early, or too many calls failed for a result.
        """
        from langchain_moa.batch.call_journal import CallJournal
        from langchain_moa.evaluation.comparison import MixtureComparison
        from langchain_moa.evaluation.summary import ComparisonSummary

        with CallJournal(self._path, max_cost_usd=self.max_cost_usd) as journal:
            before = journal.budget.cost
            comparison = MixtureComparison(
                mixture=self.mixture,
                questions=self.questions,
                journal=journal,
                score=self.score,
                epochs=self.epochs,
                concurrency=self.concurrency,
            )
            findings = run_to_the_end(comparison.run, journal, quiet=quiet)
        summary = ComparisonSummary.of(findings)
        text = self._write(summary, findings)
        if not quiet:
            paid = journal.budget.cost - before
            spent = f" for {paid}" if paid.priced else ""
            note(f"{counted(journal.made, 'call')} made{spent}; the results are in {self.folder}/; open report.html")
        _show(summary, text if as_json else None)
        if summary.problems:
            for problem in summary.problems:
                complain(problem)
            raise typer.Exit(FAILED)

    @property
    def _judge(self) -> Member | None:
        from langchain_moa.members.member import Member

        return self.score if isinstance(self.score, Member) else None

    @property
    def _path(self) -> Path:
        return self.folder / "calls.journal"

    def _estimate(self) -> tuple[Estimate, float]:
        """Return the estimate, and the amount spent by earlier runs in US dollars."""
        from langchain_moa.batch.call_journal import CallJournal
        from langchain_moa.evaluation.estimate import estimate

        with CallJournal.read(self._path) as journal:
            found = estimate(self.mixture, self.questions, journal, epochs=self.epochs, judge=self._judge)
            return found, journal.budget.spent

    def _write(self, summary: ComparisonSummary, findings: ComparisonResult) -> str:
        """Write the result files, and return the JSON document."""
        from langchain_moa.data.files import write_whole
        from langchain_moa.evaluation.plots import draw_pareto
        from langchain_moa.evaluation.report import document, markdown, page

        text = document(summary, findings.results, self.questions)
        write_whole(self.folder / "results.json", text)
        write_whole(self.folder / "table.md", markdown(summary), errors="replace")
        picture = draw_pareto(summary.figures, title=self.title)
        write_whole(self.folder / "pareto.png", picture)
        html = page(summary, findings.results, self.questions, title=self.title, picture=picture)
        write_whole(self.folder / "report.html", html, errors="replace")
        return text


def _judge_of(scorer: str | None, model: str | None, *, asked: bool) -> Member | None:
    """Create the judge that the options name, or return `None` if there is none.

    Args:
        scorer: The value of `--scorer`.
        model: The value of `--judge`.
        asked: Whether the judge will be called; an estimate needs no key.

    Raises:
        UsageError: Only one of the two options is given, or the judge cannot be created.
    """
    from langchain_moa.members.proposer import Proposer

    if scorer != _JUDGE:
        if model is not None:
            msg = "--judge is for --scorer judge; give both, or neither"
            raise UsageError(msg)
        return None
    if model is None:
        msg = "--scorer judge needs --judge 'provider:model'; choose a model that is not a member of the mixture"
        raise UsageError(msg)
    try:
        return Proposer(model).resolve({} if asked else {"api_key": "none"})
    except (ValueError, ImportError) as error:
        msg = f"--judge: {explain(error)}"
        raise UsageError(msg) from error


def _show(summary: ComparisonSummary, document: str | None) -> None:
    from langchain_moa.evaluation.report import markdown

    if document is not None:
        typer.echo(document, nl=False)
    elif is_terminal(sys.stdout):
        _print(summary)
    else:
        typer.echo(markdown(summary), nl=False)


def _print(summary: ComparisonSummary) -> None:
    from rich.table import Table

    from langchain_moa.evaluation.report import cells, legend, titles

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, title in enumerate(titles(summary)):
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for figures in summary.figures:
        table.add_row(*cells(figures, summary), style="bold" if figures.kind == "mixture" else "")
    output = console_on(sys.stdout)
    output.print(table)
    output.print(f"\n{legend(summary)}\n", style="dim")
    for verdict in summary.verdicts:
        output.print(verdict)
    for each in summary.notes:
        output.print(f"\n{each}", style="dim")
