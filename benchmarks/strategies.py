"""What it is worth to choose among answers, on recorded answers of real models and on two small models.

    python -m benchmarks.strategies recorded DATA  # some minutes
    python -m benchmarks.strategies local          # some hours on two cores; --strategy NAME for one of them

`DATA` is a folder with gsm8k_recorded.jsonl and alpaca_eval_recorded.jsonl.
`DATA` may also be given as LANGCHAIN_MOA_DATA. Every figure comes out of a mixture of this package whose proposers replay
recorded answers; a chosen answer inherits the recorded judgment of the model that it is from, so no judge is paid.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.local_models import measure
from benchmarks.recorded import Pool, alpaca_eval, gsm8k
from langchain_moa.evaluation.significance import bootstrap_interval
from langchain_moa.filters.outliers import main_cluster
from langchain_moa.limits.portal import wait_for
from langchain_moa.strategies.similarity import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(width=110)


@app.command()
def recorded(
    data: Annotated[Path, typer.Argument(envvar="LANGCHAIN_MOA_DATA", exists=True, file_okay=False, help="The folder.")],
) -> None:
    """Strategies that need no further call, early exit, and outliers, on recorded answers."""
    pools = [gsm8k(data), alpaca_eval(data)]
    console.print(choosing(pools))
    number = [(f"{votes} of 3 say the same number", {"threshold": votes / 3, "extract": "number"}) for votes in (2, 3)]
    alike = [(f"texts are {bound:.0%} alike", {"threshold": bound, "similarity": "lexical"}) for bound in (0.5, 0.6, 0.7, 0.8)]
    console.print(early_exit(pools[0], "vote", [*number, *alike]))
    console.print(early_exit(pools[1], "medoid", alike))
    console.print(agreement(pools[0]))
    console.print(intruders(pools[1]))


@app.command()
def local(
    questions: Annotated[int, typer.Option(min=1)] = 100,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    strategy: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
) -> None:
    """Strategies that call a model, with two small models on this machine, on sums with exact answers."""
    console.print(measure(questions=questions, seeds=seeds, only=strategy))


def choosing(pools: Sequence[Pool]) -> Table:
    """Return a table of the scores of each strategy by pool, compared with the best single model."""
    table = Table(title="Choosing among recorded answers, no further call")
    table.add_column("strategy")
    for pool in pools:
        table.add_column(f"{pool.name}, {pool.measure}\n({len(pool.models)} models, {len(pool.scores)} questions)")
    for name, scored in _rows():
        cells = []
        for pool in pools:
            values = scored(pool)
            baseline = values if name == "all wrong" else pool.single(pool.best)
            cells.append("-" if values is None else _cell(values, baseline or values))
        table.add_row(name, *cells)
    best = " and ".join(f"{pool.best} ({pool.name})" for pool in pools)
    table.caption = f"In brackets: the difference to the best single model, {best}; 95% paired bootstrap interval"
    return table


def _rows() -> list[tuple[str, Callable[[Pool], list[float] | None]]]:
    def votes(pool: Pool) -> bool:
        return pool.measure == "accuracy"

    def asked(
        proposers: Callable[[Pool], list[str]], only: Callable[[Pool], bool] = lambda _: True, **mixture: object
    ) -> Callable[[Pool], list[float] | None]:
        return lambda pool: pool.scored(pool.ask(proposers(pool), **mixture)) if only(pool) else None

    def models(pool: Pool) -> list[str]:
        return pool.models

    return [
        ("best single model", lambda pool: pool.single(pool.best)),
        ("a random pick (expected)", lambda pool: [fmean(scores.values()) for scores in pool.scores.values()]),
        ("the longest answer", _longest),
        ("vote, proposers in the data's order", asked(models, votes, aggregation={"vote": {"extract": "number"}})),
        ("vote, best proposer first", asked(Pool.best_first, votes, aggregation={"vote": {"extract": "number"}})),
        ("medoid", asked(models, aggregation="medoid")),
        ("medoid of the 3 most diverse", asked(models, aggregation="medoid", reference_filters=["diverse"])),
        ("medoid without outliers", asked(models, aggregation="medoid", reference_filters=["outliers"])),
        ("oracle: any right, or the best of all", lambda pool: [max(scores.values()) for scores in pool.scores.values()]),
        ("all wrong", lambda pool: [float(not any(s.values())) for s in pool.scores.values()] if votes(pool) else None),
    ]


def _longest(pool: Pool) -> list[float]:
    return [
        scores[max(texts, key=lambda model: len(texts[model]))]
        for texts, scores in zip(pool.texts.values(), pool.scores.values(), strict=True)
    ]


def early_exit(pool: Pool, aggregation: str, conditions: Sequence[tuple[str, dict[str, object]]]) -> Table:
    """Return a table for cheaper models in the first layer, and the best one only if they disagree."""
    best, *cheaper = pool.best_first()
    first = cheaper[:3]
    table = Table(title=f"Early exit, {pool.name}: 3 weaker models, then {best} where they do not agree")
    for title in ("stop when", f"calls of {best} saved", "all calls saved", pool.measure):
        table.add_column(title)
    for name, agreement in conditions:
        accounts = pool.ask([first, [best]], aggregation=aggregation, stop_when={"agreement": agreement})
        stopped = fmean("stopped" in account for account in accounts)
        saved = 1 - fmean(account["calls"] for account in accounts) / (len(first) + 1)
        table.add_row(name, f"{stopped:.1%}", f"{saved:.1%}", _cell(pool.scored(accounts), pool.single(best)))
    table.caption = f"In brackets: the difference to {best} alone on all questions; 95% paired bootstrap interval"
    return table


def agreement(pool: Pool) -> Table:
    """Return a table of the accuracy by the number of agreeing models."""
    accounts = pool.ask(pool.best_first(), aggregation={"vote": {"extract": "number"}})
    values = pool.scored(accounts)
    table = Table(
        "votes for the answer", "share of questions", "accuracy there", title=f"What an agreement is worth, {pool.name}"
    )
    for votes in range(len(pool.models), 0, -1):
        there = [value for account, value in zip(accounts, values, strict=True) if account["selected"].get("votes") == votes]
        table.add_row(
            f"{votes} of {len(pool.models)}", f"{len(there) / len(values):.1%}", f"{fmean(there):.1%}" if there else "-"
        )
    return table


def intruders(pool: Pool) -> Table:
    """Return a table for pools in which one answer per question is replaced by an answer to another question."""
    table = Table(
        "apart",
        "intruder left out",
        "an honest answer left out with it",
        "an honest answer left out, no intruder",
        title=f"Outliers, {pool.name}",
    )
    answers = [list(texts.values()) for texts in pool.texts.values()]
    matrices, clean = [], []
    for place, honest in enumerate(answers):
        foreign = answers[(place + len(answers) // 2) % len(answers)][-1]
        matrices.append(wait_for(compare, [*honest[:-1], foreign], "lexical"))
        clean.append(wait_for(compare, honest, "lexical"))
    last = len(pool.models) - 1
    for apart in (0.4, 0.5, 0.6, 0.7, 0.8):
        kept = [main_cluster(matrix, apart) for matrix in matrices]
        table.add_row(
            f"{apart:.1f}",
            f"{fmean(last not in stays for stays in kept):.1%}",
            f"{fmean(len(set(range(last)) - set(stays)) > 0 for stays in kept):.1%}",
            f"{fmean(len(main_cluster(matrix, apart)) <= last for matrix in clean):.1%}",
        )
    return table


def _cell(values: Sequence[float], baseline: Sequence[float]) -> str:
    low, high = bootstrap_interval([value - base for value, base in zip(values, baseline, strict=True)])
    difference = fmean(values) - fmean(baseline)
    beside = "" if list(values) == list(baseline) else f" ({100 * difference:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
    return f"{fmean(values):.1%}{beside}"


if __name__ == "__main__":
    app()
