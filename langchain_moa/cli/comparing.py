"""A comparison as it is ordered on the command line: the estimate, the run, the table, the files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from langchain_moa.cli.console import complain, console_on, counted, is_terminal, note, warn
from langchain_moa.cli.evaluating import run_to_the_end
from langchain_moa.cli.exit_codes import FAILED, UsageError, explain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from langchain_moa.evaluation.comparison import Findings
    from langchain_moa.evaluation.figures import Summary
    from langchain_moa.evaluation.ledger import Ledger
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

JUDGE = "judge"
"""The scorer that compares answers with one another."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be compared, and how.

    Attributes:
        mixture: The mixture.
        questions: The questions.
        score: How answers are scored, or who compares them.
        scorer: The same in words.
        folder: Where everything is kept.
        title: The heading of the report.
        epochs: How often each question is asked.
        max_cost_usd: US dollars that may be spent; `None` is no limit.
        concurrency: How many questions are under way at once.
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
        """Say what it would cost.

        Args:
            quiet: Whether nothing is said but what is wrong.

        Raises:
            UsageError: There is a limit in dollars, and a price is not known.
            EvaluationError: The folder holds something else.
        """
        from langchain_moa.evaluation.estimate import estimate

        ledger = self._ledger()
        found = estimate(self.mixture, self.questions, ledger, epochs=self.epochs, judge=self._judge)
        if self.max_cost_usd is not None and found.unpriced:
            raise UsageError(unkept(found.unpriced))
        if quiet:
            return
        known = f", {found.known:,} of them answered before" if found.known else ""
        without = f" without the price of {', '.join(found.unpriced)}, which is not known" if found.unpriced else ""
        cost = f"about ${found.usd:,.2f} to pay{without}" if found.usd or not found.unpriced else "no price is known"
        note(
            f"{counted(len(self.questions), 'question')}, about {counted(found.calls, 'call')}{known}; {cost}, with answers of "
            f"{found.answer_tokens:,} tokens; scorer: {self.scorer}"
        )
        spent = ledger.budget.spent
        if self.max_cost_usd is not None and spent + found.usd > self.max_cost_usd:
            before = f" (${spent:.2f} of it is spent)" if spent else ""
            warn(f"${self.max_cost_usd:g}{before} will not be enough; what is answered until then is kept")

    def run(self, *, as_json: bool, quiet: bool) -> None:
        """Compare, print what came of it, and write the files.

        Args:
            as_json: Whether to print everything as JSON.
            quiet: Whether to say nothing on standard error but errors.

        Raises:
            EvaluationError: The folder is in use, or the scorer failed.
            typer.Exit: It has ended early, or too much has failed for a result.
        """
        from langchain_moa.evaluation.comparison import Comparison
        from langchain_moa.evaluation.figures import Summary

        with self._ledger() as ledger:
            before = ledger.budget.spent
            comparison = Comparison(
                mixture=self.mixture,
                questions=self.questions,
                ledger=ledger,
                score=self.score,
                epochs=self.epochs,
                concurrency=self.concurrency,
            )
            findings = run_to_the_end(comparison.run, ledger, quiet=quiet)
        summary = Summary.of(findings)
        text = self._write(summary, findings)
        if not quiet:
            spent = f" for ${ledger.budget.spent - before:.4f}" if ledger.budget.spent > before else ""
            note(f"{counted(ledger.made, 'call')} made{spent}; everything is in {self.folder}/, see report.html")
        _show(summary, text if as_json else None)
        if summary.problems:
            for problem in summary.problems:
                complain(problem)
            raise typer.Exit(FAILED)

    @property
    def _judge(self) -> Member | None:
        from langchain_moa.members.member import Member

        return self.score if isinstance(self.score, Member) else None

    def _ledger(self) -> Ledger:
        from langchain_moa.evaluation.ledger import Ledger

        return Ledger(self.folder / "ledger.jsonl", max_cost_usd=self.max_cost_usd)

    def _write(self, summary: Summary, findings: Findings) -> str:
        """Write the files, the figures before the picture of them, and return the JSON document."""
        from langchain_moa.evaluation.pareto import draw_pareto
        from langchain_moa.evaluation.report import document, markdown, page

        text = document(summary, findings.results, self.questions)
        (self.folder / "results.json").write_text(text, encoding="utf-8")
        (self.folder / "table.md").write_text(markdown(summary), encoding="utf-8")
        picture = draw_pareto(summary.figures, title=self.title)
        (self.folder / "pareto.png").write_bytes(picture)
        html = page(summary, findings.results, self.questions, title=self.title, picture=picture)
        (self.folder / "report.html").write_text(html, encoding="utf-8", errors="replace")
        return text


def unkept(models: Sequence[str]) -> str:
    """Return why a limit in dollars cannot be kept.

    Args:
        models: The models whose price is not known.
    """
    whose = f"the price of {models[0]}" if len(models) == 1 else f"the prices of {', '.join(models)}"
    return f"--max-cost-usd cannot be kept: {whose} {'is' if len(models) == 1 else 'are'} not known"


def resolve_judge(scorer: str | None, model: str | None) -> Member | None:
    """Return the judge that the options name, if they do; one without a key is an error here.

    Args:
        scorer: `--scorer`.
        model: `--judge`.

    Raises:
        UsageError: One of them is there without the other, or the judge cannot be made.
    """
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


def _show(summary: Summary, document: str | None) -> None:
    from langchain_moa.evaluation.report import markdown

    if document is not None:
        typer.echo(document, nl=False)
    elif is_terminal(sys.stdout):
        _print(summary)
    else:
        typer.echo(markdown(summary), nl=False)


def _print(summary: Summary) -> None:
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
