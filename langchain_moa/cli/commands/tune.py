"""`tune`: find the best mixture or single model for your questions by replaying recorded answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_moa.cli.arguments import Debug, Quiet
from langchain_moa.cli.console import complain, note, one_line, say, warn
from langchain_moa.cli.evaluating import (
    RUN,
    Concurrency,
    Limit,
    MaxCost,
    Yes,
    budget_refused,
    confirm_spending,
    require_no_ledger,
    run_to_the_end,
)
from langchain_moa.cli.exit_codes import EXIT_CODES, FAILED, UsageError, explain, explained
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_moa.evaluation.answer_table import AnswerTable
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.evaluation.tuning import Tuning
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

_SEARCH = "Search"

Task = Annotated[
    Path | None,
    typer.Option(
        "--task",
        "-t",
        metavar="FILE",
        help="File with a question and its right answer on each line.  [dim]\\[default: those of the recorded answers][/dim]",
    ),
]
Candidates = Annotated[
    list[str] | None,
    typer.Option(
        "--candidate",
        metavar="MODEL",
        help="A candidate, 'provider:model'; repeat it for each. With --recorded, the name of a recorded model.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="A YAML file with a list of candidates, written like proposers."),
]
Recorded = Annotated[
    Path | None,
    typer.Option("--recorded", metavar="FILE", help="File with recorded answers to replay; no model is called."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for moa.yaml and the report.")]
ObjectiveName = Annotated[
    Literal["accuracy", "price"],
    typer.Option("--objective", help="What to optimize; price needs --tolerance.", rich_help_panel=_SEARCH),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="POINTS",
        min=0,
        max=100,
        help="How many points a cheaper choice may be worse than the best model.",
        rich_help_panel=_SEARCH,
    ),
]
ExtractName = Annotated[
    Literal["auto", "number", "letter", "boxed", "literal", "text"],
    typer.Option("--extract", help="How short answers are extracted; auto guesses.", rich_help_panel=_SEARCH),
]
ScorerName = Annotated[
    str | None,
    typer.Option("--scorer", metavar="NAME", help="exact, numeric, math, or file.py:function.", rich_help_panel=_SEARCH),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the cross-validation.", rich_help_panel=_SEARCH)]
Samples = Annotated[
    int,
    typer.Option(
        "--samples", metavar="K", min=1, help="Number of times that each candidate is asked each question.", rich_help_panel=RUN
    ),
]


@app.command(epilog=EXIT_CODES)
def tune(
    *,
    output: Output,
    task: Task = None,
    candidate: Candidates = None,
    config: Config = None,
    recorded: Recorded = None,
    objective: ObjectiveName = "accuracy",
    tolerance: Tolerance = None,
    extract: ExtractName = "auto",
    scorer: ScorerName = None,
    seed: Seed = 0,
    samples: Samples = 1,
    limit: Limit = None,
    max_cost_usd: MaxCost = None,
    concurrency: Concurrency = 8,
    yes: Yes = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Find the best mixture for your questions.

    It asks every candidate each question once, or reads recorded answers. It
    then replays each candidate alone, two with a better third where they
    disagree, and majorities of three and five that end early. It chooses by
    the lower bound of the gain over the best single model, which may itself be
    the best choice. It writes moa.yaml, report.html and results.json.

    [dim]$[/dim] langchain-moa tune --recorded answers.jsonl -o tuned
    """
    with explained(debug=debug):
        from langchain_moa.batch.limits import BatchError
        from langchain_moa.data.rows import RowError

        _require_extra()
        if objective == "price" and tolerance is None:
            msg = "--objective price needs --tolerance: how many points worse than the best model a cheaper choice may be"
            raise UsageError(msg)
        if tolerance is not None and objective != "price":
            msg = "--tolerance is for --objective price; give both, or neither"
            raise UsageError(msg)
        try:
            job = _TuneJob(
                output=output,
                task=task,
                recorded=recorded,
                candidates=_candidates(candidate, config, named=recorded is not None),
                extract=extract,
                scorer=scorer,
                samples=samples,
                limit=limit,
                max_cost_usd=max_cost_usd,
                concurrency=concurrency,
                yes=yes,
                quiet=quiet,
            )
            table, specs = job.answers()
            if not quiet:
                note(f"answers are read as: {table.extract}{'' if extract != 'auto' else ', guessed from the right answers'}")
            from langchain_moa.evaluation.tuning import tune as search

            tuning = search(table, objective=objective, tolerance=(tolerance or 0) / 100, seed=seed)
            job.write(tuning, specs)
        except (BatchError, RowError) as error:
            raise UsageError(explain(error)) from error


@dataclass(frozen=True, kw_only=True)
class _TuneJob:
    """The options of a tuning."""

    output: Path
    task: Path | None
    recorded: Path | None
    candidates: Sequence[Any]
    extract: str
    scorer: str | None
    samples: int
    limit: int | None
    max_cost_usd: float | None
    concurrency: int
    yes: bool
    quiet: bool

    def answers(self) -> tuple[AnswerTable, Mapping[str, Any]]:
        """Return the answers, new or recorded, and the proposer of each model as written in a file."""
        from langchain_moa.evaluation.answer_table import read_recorded
        from langchain_moa.evaluation.questions import read_questions

        questions = None
        if self.task is not None:
            questions = read_questions(self.task, needs_answers=self.recorded is None, limit=self.limit)
        if self.recorded is not None:
            table = read_recorded(
                self.recorded,
                questions=questions,
                candidates=self.candidates,
                extract=self.extract,
                scorer=self._scorer(questions or []),
            )
            if questions is None and self.limit is not None:
                table = table.rows(range(min(self.limit, len(table))))
            if questions is not None and len(table) < len(questions):
                warn(f"{self.recorded} has no answers to {len(questions) - len(table):,} of {len(questions):,} questions")
            return table, {name: f"replay:{self.recorded}#{name}" for name in table.models}
        if questions is None:
            msg = "give --task FILE with questions and right answers, or --recorded FILE with recorded answers"
            raise UsageError(msg)
        return self._asked(questions)

    def write(self, tuning: Tuning, specs: Mapping[str, Any]) -> None:
        """Write the result files, and print the result."""
        from datetime import UTC, datetime

        from langchain_moa.data.files import write_whole
        from langchain_moa.evaluation.plots import draw_policies
        from langchain_moa.evaluation.tuning_report import document, page, sentences, yaml_text

        source = str(self.recorded or self.task)
        self.output.mkdir(parents=True, exist_ok=True)
        yaml = yaml_text(tuning, specs, source=source, when=f"{datetime.now(UTC):%Y-%m-%d}")
        write_whole(self.output / "moa.yaml", yaml)
        write_whole(self.output / "results.json", document(tuning, specs, source=source), errors="replace")
        command = self._compare_command(tuning, specs)
        title = f"Which mixture for {Path(source).name}?"
        picture = draw_policies(tuning.found, tuning.chosen, title=title)
        html = page(tuning, title=title, source=source, yaml=yaml, command=command, picture=picture)
        write_whole(self.output / "report.html", html, errors="replace")
        for sentence in sentences(tuning):
            say(sentence)
        if not self.quiet:
            note(f"wrote {self.output}/moa.yaml; the reasons are in {self.output}/report.html")
            note(f"to compare it with a mixture whose aggregator writes the answer: {command}")

    def _asked(self, questions: Sequence[Question]) -> tuple[AnswerTable, Mapping[str, Any]]:
        from langchain_moa.batch.call_journal import CallJournal
        from langchain_moa.batch.limits import unpriced
        from langchain_moa.evaluation.candidates import Tournament
        from langchain_moa.evaluation.tuning import FEWEST_QUESTIONS

        if len(self.candidates) < 2:  # noqa: PLR2004  # a choice needs two
            msg = "give two or more candidates: --candidate provider:model, once for each, or --config with a list of them"
            raise UsageError(msg)
        if len(questions) < FEWEST_QUESTIONS:
            msg = f"{len(questions)} questions are too few; give at least {FEWEST_QUESTIONS}, better 100"
            raise UsageError(msg)
        mixture = _mixture_of(self.candidates)
        members = mixture.members.layers[0]
        names = [member.name for member in members]
        if twice := next((name for name in names if names.count(name) > 1), None):
            msg = f"two candidates have the name {twice}; give one of them another `name` in --config"
            raise UsageError(msg)
        if self.max_cost_usd is not None and (unknown := unpriced(members)):
            raise UsageError(budget_refused(unknown))
        require_no_ledger(self.output / "ledger.jsonl")
        with CallJournal(self.output / "calls.journal", max_cost_usd=self.max_cost_usd) as journal:
            self._announce(mixture, questions, journal)
            tournament = Tournament(
                mixture=mixture,
                names=names,
                questions=questions,
                journal=journal,
                samples=self.samples,
                extract=self.extract,
                scorer=self._scorer(questions),
                concurrency=self.concurrency,
            )
            table = run_to_the_end(tournament.run, journal, quiet=self.quiet)
        for name, reason in tournament.dropped.items():
            warn(f"{one_line(name)} was dropped: {one_line(reason)}")
        self._say_what_failed(tournament.failures, len(questions) * self.samples)
        return table, dict(zip(names, self.candidates, strict=True))

    def _say_what_failed(self, failures: Mapping[str, Sequence[str]], answers: int) -> None:
        """Print how many answers failed, which count as wrong.

        Raises:
            typer.Exit: Too many answers of a candidate failed to make a choice.
        """
        from langchain_moa.evaluation.summary import TOO_MANY, failed_sentence

        for name, failed in failures.items():
            warn(one_line(failed_sentence(name, answers, failed)))
        if too_many := [one_line(name) for name, failed in failures.items() if len(failed) > TOO_MANY * answers]:
            complain(
                "too many answers failed for a choice: fix what failed and give the same command, which asks only for what is "
                f"missing, or leave out {', '.join(too_many)}"
            )
            raise typer.Exit(FAILED)

    def _announce(self, mixture: Mixture, questions: Sequence[Question], journal: Any) -> None:
        from langchain_moa.batch.limits import ANSWER_TOKENS, expected_usd, tokens_in, unpriced

        members = mixture.members.layers[0]
        answer = mixture.max_tokens or ANSWER_TOKENS
        costs = [
            expected_usd(member.id, prompt=tokens_in(question.text), answer=answer) or 0.0
            for member in members
            for question in questions
        ]
        unknown = unpriced(members)
        without = f" without the price of {', '.join(map(one_line, unknown))}, which is not known" if unknown else ""
        calls = counted(len(costs) * self.samples, "call")
        known = f", {len(journal):,} answers are in the journal" if len(journal) else ""
        usd = "no price is known"
        if sum(costs):
            usd = f"about ${self.samples * sum(costs):,.2f}{without}, with answers of {answer} tokens"
        if not self.quiet:
            note(f"{counted(len(questions), 'question')}, at most {calls}{known}; {usd}")
        confirm_spending(len(costs) * self.samples - len(journal), yes=self.yes)

    def _scorer(self, questions: Sequence[Question]) -> Scorer | None:
        from langchain_moa.evaluation.scorers import resolve_scorer

        return None if self.scorer is None else resolve_scorer(self.scorer, questions)

    def _compare_command(self, tuning: Tuning, specs: Mapping[str, Any]) -> str:
        """Return the command, with its estimate, that evaluates a mixture which writes its answers: replay cannot."""
        from shlex import quote

        from langchain_moa.evaluation.policies import trust_order

        table, chosen = tuning.table, tuning.chosen.policy
        best = tuning.best.policy.models[0]
        models = list(dict.fromkeys(trust_order(table)[:_MODELS] if chosen.kind == "alone" else chosen.models))
        known = [_callable_as(specs[table.models[model]]) for model in models]
        members = [name for name in known if name is not None]
        is_known = len(members) == len(models)
        writer = _callable_as(specs[table.models[best]]) or "PROVIDER:MODEL"
        if chosen.kind == "samples":
            members *= len(chosen.models)
        task = self.task or self.recorded or Path()
        if is_known:
            mixture = " ".join(f"-p {quote(member)}" for member in members)
            estimate = _estimated(members, writer, table.questions, task)
        else:
            mixture = f"-c {quote(str(self.output / 'moa.yaml'))} --set aggregation=synthesize --set stop_when=null"
            estimate = "with models that can be asked in place of the recorded ones"
        layers = " --layers 1" if is_known else ""
        asked = f"-a {quote(writer)}{layers} --task {quote(str(task))} --estimate"
        return f"langchain-moa eval compare {mixture} {asked}  # {estimate}"


# The number of best models in the proposed comparison if the choice is a single model.
_MODELS = 3


def _callable_as(spec: Any) -> str | None:
    """Return the `provider:model` of a model, or `None` if it is unknown or the model has further settings."""
    if not isinstance(spec, str):
        return None
    if not spec.startswith("replay:"):
        return spec
    name = spec.rpartition("#")[2]
    return name if ":" in name else None


def _estimated(members: Sequence[str], writer: str, questions: Sequence[Question], task: Path) -> str:
    """Return a description of the estimated calls and cost of a comparison."""
    from pydantic import SecretStr

    from langchain_moa.batch.call_journal import CallJournal
    from langchain_moa.batch.limits import BatchError
    from langchain_moa.evaluation.estimate import estimate
    from langchain_moa.mixture.mixture import Mixture

    try:
        # An estimate needs no key.
        mixture = Mixture(proposers=list(members), aggregator=writer, num_layers=1, api_key=SecretStr("none"))
    except (ValueError, ImportError):
        return "what it will cost"
    try:
        journal = CallJournal.read(Path("moa-eval") / task.stem / "calls.journal")
    except BatchError:  # in use or not a journal: count all calls as missing
        journal = CallJournal(None)
    with journal:
        found = estimate(mixture, questions, journal)
    calls = f"about {counted(found.calls - found.known, 'call')} for {counted(len(questions), 'question')}"
    if not found.usd:
        return f"{calls}, whose price is not known" if found.unpriced else calls
    without = f" without the price of {', '.join(map(one_line, found.unpriced))}" if found.unpriced else ""
    return f"{calls}, ${found.usd:,.2f}{without}"


def _require_extra() -> None:
    # Import these before the calls: afterwards the process may have too many open files to import them.
    try:
        import matplotlib.figure  # noqa: F401
        import numpy as np  # noqa: F401
    except ImportError:
        msg = 'tune needs more packages: pip install "langchain-moa[eval]"'
        raise UsageError(msg) from None


def _candidates(given: Sequence[str] | None, config: Path | None, *, named: bool) -> list[Any]:
    """Return the candidates of the options and of a file, as written."""
    found: list[Any] = list(given or [])
    if config is None:
        return found
    if named:
        msg = "--config names models to ask; with --recorded give --candidate and a recorded name"
        raise UsageError(msg)
    from langchain_moa.data.documents import read_yaml

    if not config.is_file():
        msg = f"--config: there is no file {str(config)!r} with a list of candidates; name one model with --candidate"
        raise UsageError(msg)
    try:
        data = read_yaml(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"--config: {config} cannot be read: {explain(error)}"
        raise UsageError(msg) from error
    listed = data.get("candidates", data.get("proposers")) if isinstance(data, dict) else data
    if not isinstance(listed, list) or not listed:
        msg = f"--config: {config} must have a list of `candidates`; each is 'provider:model' or a mapping like a proposer's"
        raise UsageError(msg)
    from langchain_moa.data.redaction import names_secret
    from langchain_moa.members.keys import is_open

    if (secret := names_secret({"candidates": listed}, allows=is_open)) is not None:
        msg = (
            f"--config: {config} has {secret!r}; keys do not belong in files. Set the provider's environment "
            "variable, or name a variable of your own: ${NAME}"
        )
        raise UsageError(msg)
    return [*found, *listed]


def _mixture_of(candidates: Sequence[Any]) -> Mixture:
    from langchain_moa.mixture.mixture import Mixture

    try:
        mixture = Mixture(proposers=list(candidates), aggregation="vote", num_layers=1)
        mixture.members  # noqa: B018  # raises an error before any call if a candidate cannot be created
    except (ValueError, ImportError) as error:
        msg = f"--candidate: {explain(error)}"
        raise UsageError(msg) from error
    return mixture
