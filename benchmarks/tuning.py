"""What `langchain-moa tune` is worth on recorded answers of strong models.

For each pool of models, 50 seeded splits: a policy is chosen on N questions, as `tune` chooses, and compared on all others with
the best single model of the same N questions.

    python -m benchmarks.tuning DATA    # a folder with cruxeval_o.jsonl, gsm8k_strong.jsonl, math_l5.jsonl, ...
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from langchain_moa.evaluation.answer_table import AnswerTable, Sample, read_recorded
from langchain_moa.evaluation.policies import KINDS, Kind, Policy, trust_order
from langchain_moa.evaluation.policy_replay import replay
from langchain_moa.evaluation.questions import Question
from langchain_moa.evaluation.tuning import choose, judged
from langchain_moa.strategies.extract import boxed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIZES = (50, 100, 200)
THINKERS = ("o1-preview-2024-09-12", "o1-mini-2024-09-12")
CASCADES: tuple[Kind, ...] = ("alone", "pair then third")


@dataclass(frozen=True)
class Pool:
    """Models that have answered the same questions.

    Attributes:
        name: The name in the table.
        table: The answers.
        is_near_equal: Whether the models are of similar quality.
    """

    name: str
    table: AnswerTable
    is_near_equal: bool = True


@dataclass(frozen=True)
class Held:
    """The results of the choices on N questions on the other questions, one entry per split. Gains are in points."""

    gains: Sequence[float]
    answered: Sequence[float]
    calls: Sequence[float]
    early: Sequence[float]
    alone: Sequence[bool]

    @property
    def worse(self) -> float:
        return float(np.mean([gain < -1 for gain in self.gains]))


def pools(folder: Path) -> Iterator[Pool]:
    gsm8k = read_recorded(folder / "gsm8k_strong.jsonl")
    yield Pool("GSM8K, 8 models", gsm8k)
    yield Pool("MATH level 5, 7 models", math_l5(folder / "math_l5.jsonl"))
    crux = read_recorded(folder / "cruxeval_o.jsonl")
    without = [place for place, name in enumerate(crux.models) if name not in THINKERS]
    yield Pool("CRUXEval-O, 8 models", crux.only(without))
    yield Pool("CRUXEval-O with o1, 10 models", crux, is_near_equal=False)
    yield Pool("MMLU-Pro, 6 unequal models", read_recorded(folder / "mmlu_pro.jsonl"))
    for name, title in (("hard", "reasoning-gym hard, 6 models"), ("easy", "reasoning-gym easy, 4 models")):
        table = read_recorded(folder / f"reasoning_gym_{name}.jsonl")
        yield Pool(title, table)


def math_l5(path: Path) -> AnswerTable:
    """Read the recorded short answers; the complete texts are JSON documents in a special format."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers: dict[str, list[list[Sample]]] = {model: [] for model in rows[0]["short"]}
    for row in rows:
        for model, given in answers.items():
            short = row["short"].get(model)
            found = None if short is None else boxed(f"\\boxed{{{short}}}") or str(short)
            given.append([Sample(text=short, score=float(row["score"].get(model) or 0), short=found)])
    questions = [Question(id=row["id"], text=row["question"], answers=(row["answer"],)) for row in rows]
    return AnswerTable.of(questions, answers, extract="boxed")


def held_out(pool: Pool, size: int, *, splits: int, kinds: Sequence[Kind] = KINDS) -> Held:
    """Choose a policy on some questions, and evaluate it on the others.

    Args:
        pool: The models.
        size: The number of questions for the choice.
        splits: The number of seeded splits.
        kinds: The kinds of policies.
    """
    gains, answered, calls, early, alone = [], [], [], [], []
    for seed in range(splits):
        places = np.random.default_rng(seed).permutation(len(pool.table))
        found = judged(pool.table.rows(places[:size]), kinds=kinds)
        chosen, single = choose(found).policy, found[0].policy
        rest = pool.table.rows(places[size:])
        replayed = replay(rest, chosen)
        differences = 100 * (replayed.scores - replay(rest, single).scores)
        gains.append(float(differences.mean()))
        # Leave out questions that the best single model did not answer: filling gaps is not a better answer.
        answered.append(float(differences[rest.answered[:, rest.samples[single.models[0]][0]]].mean()))
        calls.append(float(replayed.calls.mean()))
        early.append(float(replayed.early.mean()))
        alone.append(chosen == single)
    return Held(gains, answered, calls, early, alone)


def ceiling(pool: Pool) -> str:
    """Return the scores of the best model, a majority of the five best, and a perfect choice among all, on all questions."""
    order = trust_order(pool.table)
    best, five = (replay(pool.table, policy).scores.mean() for policy in (Policy("alone", (order[0],)), _majority(order)))
    anyone = pool.table.scores.max(axis=1).mean()
    return f"{pool.name}: the best {best:.1%}, a majority {five:.1%}, some model {anyone:.1%}"


def _majority(order: Sequence[int]) -> Policy:
    return Policy("majority", tuple(order[: 5 if len(order) >= 5 else 3]))  # an odd number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=50)
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # duplicate questions
    table = Table(
        "pool", "N", "gain", "where the best answered", "worse by > 1", "alone", "calls at most", "calls", "pair, then third"
    )
    near: list[Held] = []
    far: list[Held] = []
    for pool in pools(given.data):
        for size in SIZES:
            held = held_out(pool, size, splits=given.splits)
            cascade = held_out(pool, size, splits=given.splits, kinds=CASCADES)
            if size == SIZES[1]:
                (near if pool.is_near_equal else far).append(held)
            table.add_row(
                pool.name,
                str(size),
                f"{np.mean(held.gains):+.2f}",
                f"{np.mean(held.answered):+.2f}",
                f"{held.worse:.0%}",
                f"{np.mean(held.alone):.0%}",
                f"{np.mean(held.calls):.1f}",
                f"{np.mean(held.early):.1f}",
                f"{np.mean(cascade.gains):+.2f}, {np.mean(cascade.early):.1f} calls",
            )
    console = Console(width=150)
    console.print(table)
    gains = [gain for held in near for gain in held.gains]
    worse = float(np.mean([gain < -1 for gain in gains]))
    console.print(
        f"Near-equal pools at N = {SIZES[1]}: mean gain {np.mean(gains):+.2f}, worse by more than a point in {worse:.1%}"
    )
    for pool in pools(given.data):
        console.print(ceiling(pool))
    if far:
        least = min(float(np.mean(held.gains)) for held in far)
        console.print(f"With a far better model in the pool: mean gain {least:+.2f} at the least")


if __name__ == "__main__":
    main()
