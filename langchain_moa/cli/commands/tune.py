"""`tune`: find the best mixture or single model for your questions by replaying recorded answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from langchain_moa.cli.arguments import Debug, Quiet
from langchain_moa.cli.console import note
from langchain_moa.cli.evaluating import RUN, Concurrency, Limit, MaxCost, Yes
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explain, explained

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        from langchain_moa.cli.tuning_job import TuneJob
        from langchain_moa.data.rows import RowError

        _require_extra()
        if objective == "price" and tolerance is None:
            msg = "--objective price needs --tolerance: how many points worse than the best model a cheaper choice may be"
            raise UsageError(msg)
        if tolerance is not None and objective != "price":
            msg = "--tolerance is for --objective price; give both, or neither"
            raise UsageError(msg)
        try:
            job = TuneJob(
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
