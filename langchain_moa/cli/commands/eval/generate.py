"""`eval generate`: write a mixture's answers in the format of a benchmark's official tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.arguments import Debug, Quiet, with_arguments
from langchain_moa.cli.console import note, one_line, warn
from langchain_moa.cli.evaluating import (
    RUN,
    Concurrency,
    EstimateOnly,
    Limit,
    MaxCost,
    ProgressWatch,
    budget_refused,
    require_no_ledger,
    run_to_the_end,
)
from langchain_moa.cli.exit_codes import EXIT_CODES, FAILED, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import DEFAULT_CONFIG, MixtureArguments
from langchain_moa.data.figures import counted
from langchain_moa.evaluation.harnesses import HARNESSES

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.data.reference import Reference
    from langchain_moa.evaluation.generation import GenerationResult
    from langchain_moa.evaluation.harnesses import BenchmarkQuestion, Harness
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

_SHOWN_FAILURES = 3

Benchmark = Annotated[str, typer.Option("--benchmark", "-b", metavar="|".join(HARNESSES), help="The benchmark.")]
Questions = Annotated[Path, typer.Option("--questions", metavar="FILE", help="The benchmark's question file, .json or .jsonl.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the answers go.")]
References = Annotated[
    list[Path] | None,
    typer.Option(
        "--references",
        metavar="FILE",
        help="File with another model's answers, in the benchmark's format; repeat it for each. They replace the proposers.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="The mixture's name in the file.  [dim]\\[default: the file's or preset's][/dim]"
    ),
]
Alone = Annotated[
    str | None,
    typer.Option(
        "--alone",
        metavar="MEMBER",
        help="Call only one member: a proposer's number, a name or model id, or aggregator.",
    ),
]
OwnSettings = Annotated[
    bool,
    typer.Option(
        "--own-settings",
        help="Use the mixture's temperature and max_tokens instead of the benchmark's; reasoning models need this.",
        rich_help_panel=RUN,
    ),
]


@app.command(epilog=EXIT_CODES)
@with_arguments
def generate(
    *,
    benchmark: Benchmark,
    questions: Questions,
    output: Output,
    references: References = None,
    alone: Alone = None,
    name: Name = None,
    mixture: MixtureArguments,
    limit: Limit = None,
    concurrency: Concurrency = 8,
    max_cost_usd: MaxCost = None,
    own_settings: OwnSettings = False,
    estimate: EstimateOnly = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Write a mixture's answers to a benchmark's questions.

    The file is what AlpacaEval, FastChat (MT-Bench), Arena-Hard-Auto or FLASK
    reads. A journal of all calls is next to it. After Ctrl-C, no further calls
    start, and those that are running are awaited; a second Ctrl-C ends the run
    at once. Run the same command again to resume: no answered call is made
    again.

    [dim]$[/dim] langchain-moa eval generate -b flask -c moa.yaml \
        --questions flask_evaluation.jsonl -o moa.jsonl
    """
    with explained(debug=debug):
        from langchain_moa.batch.call_journal import CallJournal
        from langchain_moa.batch.limits import BatchError
        from langchain_moa.data.files import write_whole
        from langchain_moa.data.rows import RowError
        from langchain_moa.evaluation.generation import read_references

        harness = _harness(benchmark)
        try:
            asked = harness.questions(questions, limit=limit)
            given = read_references(references, harness, asked) if references else None
            job = _Job(
                harness=harness,
                mixture=mixture.mixture(asked=not estimate, quiet=quiet),
                questions=asked,
                model=name or _name(mixture),
                references=given,
                alone=alone,
                concurrency=concurrency,
                own_settings=own_settings,
            )
            # Not `.jsonl`: the tools would read it as answers.
            path = output.with_name(f"{output.name}.journal")
            require_no_ledger(output.with_name(f"{output.name}.ledger"))
            with CallJournal.read(path) as journal:
                job.announce(len(journal), path, has_limit=max_cost_usd is not None, quiet=quiet and not estimate)
            if estimate:
                return
            with CallJournal(path, max_cost_usd=max_cost_usd) as journal:
                outcome, text = job.run(journal, output, quiet=quiet)
        except (RowError, BatchError) as error:
            raise UsageError(explain(error)) from error
        write_whole(output, text)
        _report(outcome, journal, len(asked), output, quiet=quiet)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The questions of a benchmark, and how to answer them."""

    harness: Harness
    mixture: Mixture
    questions: Sequence[BenchmarkQuestion]
    model: str
    references: Mapping[Hashable, list[Reference]] | None
    alone: str | None
    concurrency: int
    own_settings: bool

    def announce(self, kept: int, journal: Path, *, has_limit: bool, quiet: bool) -> None:
        """Print what will be asked, and check the options."""
        from langchain_moa.batch.limits import callable_members, unpriced
        from langchain_moa.evaluation.generation import asked

        if self.alone is not None and self.references is not None:
            msg = "--alone calls one member without references; leave out --alone or --references"
            raise UsageError(msg)
        try:
            members = asked(self.mixture, member=self.alone, has_references=self.references is not None)
        except ValueError as error:
            msg = f"--alone: {explain(error)}"
            raise UsageError(msg) from error
        others = [] if self.alone is not None else callable_members(self.mixture, with_proposers=self.references is None)
        if has_limit and (unknown := unpriced([*members, *others])):
            raise UsageError(budget_refused(unknown))
        if not quiet:
            turns = sum(len(question.turns) for question in self.questions)
            calls = counted(turns * len(members), "call")
            known = f", with {counted(kept, 'answer')}" if kept else ""
            note(
                f"{counted(len(self.questions), 'question')}, {counted(turns, 'turn')}, {calls} for {self.harness.title}; the "
                f"journal is {journal}{known}; {self._price(members)}"
            )

    def _price(self, members: Sequence[Member]) -> str:
        """Return the estimated cost of all calls, including those that the journal already has."""
        from langchain_moa.batch.limits import ANSWER_TOKENS, expected_usd, tokens_in, unpriced

        usd = sum(
            expected_usd(member.id, prompt=tokens_in(turn), answer=ANSWER_TOKENS) or 0.0
            for member in members
            for question in self.questions
            for turn in question.turns
        )
        unknown = unpriced(members)
        if not usd:
            return "no price is known"
        without = f" without the price of {', '.join(unknown)}, which is not known" if unknown else ""
        return f"${usd:,.2f} and more{without}, with answers of {ANSWER_TOKENS} tokens"

    def run(self, journal: CallJournal, output: Path, *, quiet: bool) -> tuple[GenerationResult, str]:
        """Ask the questions, and return the result and the content of the answer file."""
        from langchain_moa.evaluation.generation import Generation

        generation = Generation(
            harness=self.harness,
            mixture=self.mixture,
            questions=self.questions,
            journal=journal,
            model=self.model,
            references=self.references,
            member=self.alone,
            concurrency=self.concurrency,
            own_settings=self.own_settings,
        )

        async def work(watch: ProgressWatch) -> GenerationResult:
            outcome = await generation.run(watch)
            if outcome.ended in ("signal", "write") and len(outcome.answered) < len(self.questions):
                journal.gate.require_open()
            return outcome

        outcome = run_to_the_end(work, journal, quiet=quiet)
        return outcome, generation.document(outcome, before=output)


def _harness(name: str) -> Harness:
    if name not in HARNESSES:
        msg = f"--benchmark: {name!r} is unknown; choose one of {', '.join(HARNESSES)}"
        raise UsageError(msg)
    return HARNESSES[name]


def _report(outcome: GenerationResult, journal: CallJournal, asked: int, output: Path, *, quiet: bool) -> None:
    from langchain_moa.evaluation.summary import doing_without

    for question, reason in outcome.failed[:_SHOWN_FAILURES]:
        warn(f"no answer to the question of {question.row.place}: {one_line(reason)}")
    if sentence := doing_without(outcome.without):
        warn(f"{sentence}; run the same command to ask again")
    if outcome.ended is not None:
        warn(journal.gate.why)
    missing = asked - len(outcome.answered)
    if missing:
        warn(f"{output} lacks {missing:,} of {counted(asked, 'answer')}; run the same command to ask again")
    elif not quiet:
        cost = f"; {journal.budget.cost} in all" if journal.budget.cost.priced else ""
        note(f"{counted(asked, 'answer')}, {outcome.kept:,} of them from the journal{cost}")
    typer.echo(output)
    if missing:
        raise typer.Exit(FAILED)


def _name(options: MixtureArguments) -> str:
    if options.preset:
        return options.preset
    config = options.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() and not options.proposers else None)
    return config.stem if config else "moa"
