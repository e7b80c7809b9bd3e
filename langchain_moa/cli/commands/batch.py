"""`batch`: ask a mixture the rows of a file."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli.arguments import OUTPUT, CallArguments, Debug, Quiet, with_arguments
from langchain_moa.cli.console import complain, hide_log, note, one_line, warn
from langchain_moa.cli.evaluating import (
    DRAINING,
    RUN,
    SIGNALLED,
    Concurrency,
    EstimateOnly,
    MaxCost,
    budget_refused,
    progress_bar,
)
from langchain_moa.cli.exit_codes import EXIT_CODES, FAILED, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from langchain_moa.batch.asker import BatchAnswer
    from langchain_moa.batch.run import BatchRun
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

_SHOWN_FAILURES = 3

_CENT = 0.01

Input = Annotated[
    Path, typer.Argument(metavar="INPUT", help="File with the rows: .jsonl, .csv or .parquet.", show_default=False)
]
Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FILE", help="File for the answers, one JSON object per line.", rich_help_panel=OUTPUT
    ),
]


@dataclass(frozen=True, kw_only=True)
class BatchArguments:
    """The options of `batch_answers` on the command line."""

    prompt_field: Annotated[
        str | None,
        typer.Option(
            "--prompt-field",
            metavar="COLUMN",
            help="The column with the prompt.  [dim]\\[default: prompt, question, input or messages][/dim]",
        ),
    ] = None
    concurrency: Concurrency = 8
    max_cost_usd: MaxCost = None
    half_price: Annotated[
        bool,
        typer.Option(
            "--half-price",
            help="Send the calls as batch jobs, which providers answer within a day at half the price.",
            rich_help_panel=RUN,
        ),
    ] = False
    poll: Annotated[
        float,
        typer.Option(
            "--poll",
            metavar="SECONDS",
            min=0.01,
            help="With --half-price, the time between two polls of a job; it rises to 10 minutes.",
            rich_help_panel=RUN,
        ),
    ] = 30.0
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Run on a Ray cluster: its address, 'auto' for the one of this machine, or 'local' to start one.",
            rich_help_panel=RUN,
        ),
    ] = None
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="With --ray, the number of workers.", rich_help_panel=RUN)
    ] = 2
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask failed rows again.", rich_help_panel=RUN)] = False
    references: Annotated[
        bool, typer.Option("--references", help="Also write the proposers' answers.", rich_help_panel=OUTPUT)
    ] = False
    ordered: Annotated[
        bool,
        typer.Option("--ordered", help="Sort the output into the order of the input at the end.", rich_help_panel=OUTPUT),
    ] = False

    def require_possible(self, mixture: Mixture) -> None:
        """Check that the options work with a mixture; errors name the command line options.

        Args:
            mixture: The mixture.

        Raises:
            UsageError: A spending limit cannot be enforced, or an option cannot be used with Ray.
        """
        from langchain_moa.batch.limits import callable_members, unpriced

        if self.ray is not None and (self.half_price or self.max_cost_usd is not None):
            other = "--half-price" if self.half_price else "--max-cost-usd"
            msg = f"{other} works in one process only, and --ray uses several; leave one of them out"
            raise UsageError(msg)
        if self.max_cost_usd is None:
            return
        if unknown := unpriced(callable_members(mixture)):
            raise UsageError(budget_refused(unknown))
        if self.half_price and mixture.max_tokens is None:
            msg = "--max-cost-usd with --half-price needs --max-tokens: a job's calls are reserved before one is answered"
            raise UsageError(msg)


@app.command("batch", epilog=EXIT_CODES)
@with_arguments
def batch(
    *,
    rows: Input,
    output: Output,
    mixture: MixtureArguments,
    call: CallArguments,
    settings: BatchArguments,
    estimate: EstimateOnly = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Answer every row of a file.

    A row has a prompt, question, input or messages. Its id is the column id,
    or its line number. All other columns are copied. Answers are written as
    they arrive, with a journal of the calls next to them. After Ctrl-C, no
    further calls start, and those that are running are awaited; a second
    Ctrl-C ends the run at once. Run the same command again to resume: no
    answered call is made again.

    [dim]$[/dim] langchain-moa batch questions.jsonl -c moa.yaml -o answers.jsonl
    """
    with explained(debug=debug):
        from langchain_moa.batch.limits import BatchError
        from langchain_moa.data.rows import RowError

        overrides = call.fields
        if estimate:
            built = mixture.mixture(asked=False, overrides=overrides)
        else:
            built = mixture.load(quiet=quiet, overrides=overrides)
        settings.require_possible(built)
        job = _Job(built, rows, output, quiet=quiet)
        if estimate:
            settings = replace(settings, retry_failed=False, ordered=False, ray=None)
        try:
            with job.open(system=call.system, is_kept=not estimate or output.exists(), **asdict(settings)) as run:
                run.check()
                job.announce(run, is_asked=estimate)
                if estimate:
                    return
                code = job.work(run)
        except (RowError, BatchError) as error:
            raise UsageError(explain(error)) from error
        typer.echo(output)
        if code:
            raise typer.Exit(code)


@dataclass(frozen=True)
class _Job:
    """The input, the output and the options of a batch."""

    mixture: Mixture
    rows: Path
    output: Path
    quiet: bool

    def open(self, *, is_kept: bool, **settings: Any) -> BatchRun:
        """Open the output if it exists or will be written."""
        from langchain_moa.batch.run import BatchRun

        return BatchRun(self.mixture, self.rows, output=self.output if is_kept else None, **settings)

    def announce(self, run: BatchRun, *, is_asked: bool) -> None:
        """Print the number of rows to answer and the estimated cost."""
        if self.quiet and not is_asked:
            return
        progress = run.progress
        if run.output is not None and (skipped := run.output.skipped):
            which = f"line {skipped[0]:,} is" if len(skipped) == 1 else f"{len(skipped):,} lines are"
            warn(f"{self.output}: {which} incomplete and skipped; the rows are asked again")
        kept = f", {progress.kept:,} of them in {self.output} already" if progress.kept else ""
        note(f"{counted(progress.total or 0, 'row')}{kept}; {self._price(run)}")

    def _price(self, run: BatchRun) -> str:
        """Return the estimated cost of the remaining rows, if all layers run."""
        from langchain_moa.batch.half_price import SHARE, jobs_of
        from langchain_moa.batch.limits import ANSWER_TOKENS, callable_members, expected_usd, unpriced

        left = run.progress.left or 0
        members = self.mixture.members
        last = [members.aggregator] if self.mixture.aggregator is not None else []
        asked = [*(member for layer in members.layers for member in layer), *last]
        prompt = run.progress.prompt_tokens // max(left, 1)
        answer = self.mixture.max_tokens or ANSWER_TOKENS
        usd = left * sum(expected_usd(member.id, prompt=prompt, answer=answer) or 0.0 for member in asked)
        unknown = unpriced(callable_members(self.mixture))
        calls = counted(left * len(asked), "call")
        in_jobs = [member for member in asked if jobs_of(member.chat_model) is not None] if run.job_queue is not None else []
        saved = left * sum(SHARE * (expected_usd(member.id, prompt=prompt, answer=answer) or 0.0) for member in in_jobs)
        if not usd:
            return f"{calls}; no price is known" if left else calls
        without = f" without the price of {', '.join(unknown)}, which is unknown" if unknown else ""
        half = f"; ${usd - saved:,.2f} where the providers have batch jobs" if saved else ""
        return f"{calls}; ${usd:,.2f} and more{half}{without}, with answers of {answer} tokens"

    def work(self, run: BatchRun) -> int:
        """Run the batch and return the exit code."""
        from langchain_moa.cli.signals import run_until_signalled

        code = 0
        failures: list[BatchAnswer] = []
        gate = run.journal.gate

        def drain(number: signal.Signals) -> None:
            nonlocal code
            code = SIGNALLED + number
            run.halt()
            if not self.quiet and run.job_queue is None:
                note(DRAINING)
            elif not self.quiet:
                note("the batch jobs continue at the providers; run the same command to collect their answers")

        async def work(watch: Callable[[], object]) -> None:
            async for answer in run.answers():
                if answer.error is not None and len(failures) < _SHOWN_FAILURES:
                    failures.append(answer)
                watch()

        hide_log()  # the output has what would be logged as warnings
        try:
            with _watching(run, quiet=self.quiet) as watch:
                run_until_signalled(work(watch), drain=drain)
        except typer.Exit as ended:
            code = ended.exit_code
        if gate.reason not in (None, "signal"):
            complain(gate.why)
            code = code or FAILED
        self._report(run, failures)
        return code or (FAILED if run.progress.failed + run.progress.kept_failed else 0)

    def _report(self, run: BatchRun, failures: list[BatchAnswer]) -> None:
        progress = run.progress
        for answer in failures:
            warn(f"no answer to row {one_line(str(answer.id))}: {one_line(answer.error or '')}")
        if failed := progress.failed + progress.kept_failed:
            warn(f"{counted(failed, 'row')} failed; the reasons are in {self.output}, and --retry-failed asks them again")
        if not run.save():
            remedy = "free some space or correct the permissions, and run the same command"
            if run.unsaved_calls:
                calls = counted(run.unsaved_calls, "call")
                warn(f"{calls} could not be written and will be lost; {remedy}, which makes them again")
            if run.unsaved_rows:
                rows = counted(run.unsaved_rows, "row")
                warn(f"{rows} could not be written to {self.output}; {remedy}, which takes calls from the journal")
        if self.quiet:
            return
        if run.job_queue is not None:
            direct = (
                f"; called directly, without batch jobs: {', '.join(sorted(run.job_queue.direct))}"
                if run.job_queue.direct
                else ""
            )
            note(f"{counted(run.job_queue.submitted, 'batch job')} submitted{direct}")
        total = progress.answered + progress.kept - progress.kept_failed
        earlier = f", {progress.kept:,} of them from earlier runs" if progress.kept else ""
        lacking = f"; {progress.degraded:,} are degraded" if progress.degraded else ""
        spent = run.journal.budget.cost
        cost = f"; {spent.amount} in all" if spent.priced else ""
        note(f"{counted(total, 'answer')}{earlier}{cost}{lacking}")
        if (left := progress.left) is not None and left > 0:
            note(f"{counted(left, 'row')} left; run the same command to resume")


@contextmanager
def _watching(run: BatchRun, *, quiet: bool) -> Iterator[Callable[[], object]]:
    """Show the progress of a run if standard error is a terminal."""
    bar = None if quiet else progress_bar()
    if bar is None:
        yield lambda: None
        return
    with bar as progress:
        task = progress.add_task("rows", total=run.progress.total, completed=run.progress.kept)

        def watch() -> None:
            progress.update(task, completed=run.progress.kept + run.progress.done, description=_words(run))

        yield watch


def _words(run: BatchRun) -> str:
    progress, spent = run.progress, run.journal.budget.spent
    cost = f", ${spent:.2f}" if spent >= _CENT / 2 else ""
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f"rows, {progress.rate:.1f}/s{cost}{failed}"
