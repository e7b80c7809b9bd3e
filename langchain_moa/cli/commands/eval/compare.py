"""`eval compare`: whether a mixture beats its best member on questions of yours, and at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.arguments import Debug, Quiet, with_arguments
from langchain_moa.cli.evaluating import RUN, Concurrency, Limit, MaxCost
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    from langchain_moa.evaluation.questions import Question

app = typer.Typer()

_GSM8K = "gsm8k"

_QUESTIONS = "Questions"

Task = Annotated[
    str,
    typer.Option("--task", "-t", metavar="FILE", help="A JSONL file with a question and an answer on each line, or gsm8k."),
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
    str | None, typer.Option("--judge", metavar="MODEL", help="Who compares answers with --scorer judge, 'provider:model'.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="Where all is kept.  [dim]\\[default: moa-eval/ and the task's name][/dim]"
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
    int, typer.Option("--epochs", metavar="N", min=1, help="How often each question is asked.", rich_help_panel=_QUESTIONS)
]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Say what it would cost, and ask nothing.", rich_help_panel=RUN)]
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
    as_json: AsJson = False,
    mixture: MixtureArguments,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    r"""Compare a mixture with its members on questions of yours.

    It asks the mixture, each member alone, the best of them as often as the
    mixture asks all (Self-MoA), and the aggregator after each layer. Calls
    that several of them make are made once. Ctrl-C waits for the calls under
    way, a second one does not; the same command then goes on, and no call that
    was answered is made again.

    [dim]$[/dim] langchain-moa eval compare -c moa.yaml --task questions.jsonl --limit 50
    """
    with explained(debug=debug):
        from langchain_moa.cli.comparing import JUDGE, Order, resolve_judge
        from langchain_moa.data.rows import RowError
        from langchain_moa.evaluation.errors import EvaluationError
        from langchain_moa.evaluation.scorers import SUITING, resolve_scorer

        _require_extra()
        try:
            needs_answers = scorer != JUDGE and ".py:" not in (scorer or "")
            questions = _questions(task, question_field, answer_field, limit, needs_answers=needs_answers)
            order = Order(
                mixture=mixture.mixture(quiet=quiet),
                questions=questions,
                score=resolve_judge(scorer, judge) or resolve_scorer(scorer, questions),
                scorer=f"{JUDGE}, {judge}" if scorer == JUDGE else scorer or SUITING,
                folder=output or Path("moa-eval") / (_GSM8K if task == _GSM8K else Path(task).stem),
                title=f"A mixture on {task}",
                epochs=epochs,
                max_cost_usd=max_cost_usd,
                concurrency=concurrency,
            )
            order.estimate(quiet=quiet and not estimate)
            if not estimate:
                order.run(as_json=as_json, quiet=quiet)
        except (EvaluationError, RowError) as error:
            raise UsageError(explain(error)) from error


def _require_extra() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        msg = 'eval compare takes more packages: pip install "langchain-moa[eval]"'
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
