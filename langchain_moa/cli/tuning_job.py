"""The work of `tune`: collect answers to the questions, and write the chosen mixture with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from langchain_moa.cli.console import complain, note, one_line, say, warn
from langchain_moa.cli.evaluating import budget_refused, confirm_spending, require_no_ledger, run_to_the_end
from langchain_moa.cli.exit_codes import FAILED, UsageError, explain
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_moa.evaluation.answer_table import AnswerTable
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.scorers import Scorer
    from langchain_moa.evaluation.tuning import Tuning
    from langchain_moa.mixture.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class TuneJob:
    """A tuning with the options of the command: ask or read, and write the result.

    Attributes:
        output: The folder of the results and of the journal.
        task: The file with the questions, or `None`.
        recorded: The file with recorded answers, or `None` to ask the candidates.
        candidates: The candidates as written in a configuration file; with `recorded`, names of recorded models.
        extract: How short answers are extracted.
        scorer: The name of the scorer; `None` for the one that fits the answers.
        samples: How many times each candidate is asked each question.
        limit: The number of questions to take, or `None` for all.
        max_cost_usd: The budget in US dollars, or `None`.
        concurrency: The maximum number of questions in progress.
        yes: Whether to ask without a confirmation.
        quiet: Whether to print the result only.
    """

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
        from langchain_moa.data.rows import read_rows
        from langchain_moa.evaluation.answer_table import read_recorded
        from langchain_moa.evaluation.questions import questions_of, read_questions

        if self.task is not None:
            questions = read_questions(self.task, needs_answers=self.recorded is None, limit=self.limit)
        elif self.recorded is not None:
            questions = questions_of(read_rows(self.recorded), needs_answers=False)[: self.limit]
        else:
            msg = "give --task FILE with questions and right answers, or --recorded FILE with recorded answers"
            raise UsageError(msg)
        if self.recorded is not None:
            table = read_recorded(
                self.recorded,
                questions=questions,
                candidates=self.candidates,
                extract=self.extract,
                scorer=self._scorer(questions),
            )
            if len(table) < len(questions):
                warn(f"{self.recorded} has no answers to {len(questions) - len(table):,} of {len(questions):,} questions")
            return table, {name: f"replay:{self.recorded}#{name}" for name in table.models}
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
            msg = f"too few questions ({len(questions)}); give at least {FEWEST_QUESTIONS}, better 100"
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


def _mixture_of(candidates: Sequence[Any]) -> Mixture:
    from langchain_moa.mixture.mixture import Mixture

    try:
        mixture = Mixture(proposers=list(candidates), aggregation="vote", num_layers=1)
        mixture.members  # noqa: B018  # raises an error before any call if a candidate cannot be created
    except (ValueError, ImportError) as error:
        msg = f"--candidate: {explain(error)}"
        raise UsageError(msg) from error
    return mixture
