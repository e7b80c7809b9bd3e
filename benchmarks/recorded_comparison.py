"""The comparison of `langchain-moa eval compare`, offline: what real models have answered is replayed, and no call is paid.

    python -m benchmarks.recorded_comparison DATA  # about a minute for each of the two

`DATA` is a folder with gsm8k_recorded.jsonl and alpaca_eval_recorded.jsonl; it may also be given as LANGCHAIN_MOA_DATA.
A mixture that chooses among answers needs no models but these: for GSM8K by a vote on the number, for AlpacaEval by taking
the answer that is most like the others and that inherits its published judgment.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.recorded import alpaca_eval, gsm8k
from langchain_moa import Mixture
from langchain_moa.batch.call_journal import CallJournal
from langchain_moa.evaluation.comparison import MixtureComparison
from langchain_moa.evaluation.questions import Question
from langchain_moa.evaluation.report import markdown
from langchain_moa.evaluation.summary import ComparisonSummary

if TYPE_CHECKING:
    from benchmarks.recorded import Pool

app = typer.Typer(add_completion=False, help=__doc__)

# The aggregation, as a description and as a field.
_AGGREGATIONS: dict[str, tuple[str, Any]] = {
    "GSM8K": ("the number that most have found", {"vote": {"extract": "number"}}),
    "AlpacaEval 2.0": ("the answer that is most like the others", "medoid"),
}

_NOTE = (
    "Self-MoA, the best member asked as often as the mixture asks all, is left out: it needs several samples of one model, and "
    "there is one answer of each. The seconds are those of looking answers up, and say nothing of the models."
)


@app.command()
def compare(
    data: Annotated[Path, typer.Argument(envvar="LANGCHAIN_MOA_DATA", exists=True, file_okay=False, help="The folder.")],
) -> None:
    """Compare a mixture of recorded models with each of them."""
    for pool in (gsm8k(data), alpaca_eval(data)):
        mixture = mixture_of(pool)
        layers = [", ".join(member.name for member in layer) for layer in mixture.members.layers]
        sys.stdout.write(f"## {pool.name}, {pool.measure}\n\n")
        sys.stdout.write(f"The mixture takes {_AGGREGATIONS[pool.name][0]}. ")
        sys.stdout.write(f"Layer 1: {layers[0]}. Layer 2: {layers[1]}.\n\n")
        sys.stdout.write(f"{markdown(compared(pool, mixture))}\n{_NOTE}\n\n")


def mixture_of(pool: Pool) -> Mixture:
    """Return a mixture with all models but the best one in its first layer, and all models, the best first, in its second."""
    best, *others = pool.best_first()
    layers = [[pool.proposer(model) for model in others], [pool.proposer(model) for model in (best, *others)]]
    return Mixture(proposers=layers, aggregation=_AGGREGATIONS[pool.name][1])


def compared(pool: Pool, mixture: Mixture) -> ComparisonSummary:
    """Compare every variant on all questions, with a temporary journal."""
    worth = {
        (question, text): pool.scores[question][model]
        for question, texts in pool.texts.items()
        for model, text in texts.items()
    }
    questions = [Question(id=str(number), text=question) for number, question in enumerate(pool.texts, start=1)]
    with TemporaryDirectory() as folder, CallJournal(Path(folder) / "calls.journal") as journal:
        comparison = MixtureComparison(
            mixture=mixture,
            questions=questions,
            journal=journal,
            # A selected answer has its recorded score.
            score=lambda text, question: worth[question.text, text],
            with_self_moa=False,
        )
        return ComparisonSummary.of(asyncio.run(comparison.run()))


if __name__ == "__main__":
    app()
