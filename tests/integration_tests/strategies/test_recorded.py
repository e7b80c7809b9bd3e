"""Strategies on recorded answers of real models, which are not part of this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.recorded import Pool, alpaca_eval, gsm8k
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]
DATA = os.environ.get("LANGCHAIN_MOA_DATA")
recorded = pytest.mark.skipif(
    DATA is None, reason="LANGCHAIN_MOA_DATA does not name a folder with gsm8k_recorded.jsonl and alpaca_eval_recorded.jsonl"
)
VOTE: dict[str, Any] = {"aggregation": {"vote": {"extract": "number"}}}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Data in the same format, small enough that the results are known."""
    answers = [("3", "4", "4"), ("5", "5", "5"), ("6", "7", "8"), ("9", "1", "2")]
    rows = [
        {"question": f"q{n}", "answer": right, "recorded": {f"m{m}": f"A: {text}" for m, text in enumerate(texts)}}
        for n, (texts, right) in enumerate(zip(answers, ("4", "5", "6", "9"), strict=True))
    ]
    (tmp_path / "gsm8k_recorded.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    outputs: list[dict[str, Any]] = [{"output": "the sky is blue", "preference": 0.5}, {"output": "grass", "preference": 0.1}]
    rows = [{"instruction": f"i{n}", "recorded": {f"m{m}": outputs[m > 2] for m in range(4)}} for n in range(3)]
    (tmp_path / "alpaca_eval_recorded.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def accuracy(pool: Pool, *proposers: Any, **mixture: Any) -> float:
    return fmean(pool.scored(pool.ask(proposers or pool.models, **mixture)))


def test_figures_that_are_known(small: Path) -> None:
    pool = gsm8k(small)
    assert [fmean(pool.single(model)) for model in pool.models] == [0.75, 0.5, 0.5]
    assert pool.best == "m0"
    assert accuracy(pool, **VOTE) == 1.0
    assert accuracy(pool, *reversed(pool.models), **VOTE) == 0.5
    stop = {"agreement": {"threshold": 1, "extract": "number"}}
    accounts = pool.ask([["m1", "m2"], ["m0"]], **VOTE, stop_when=stop)
    assert ["stopped" in account for account in accounts] == [True, True, False, False]
    assert fmean(pool.scored(accounts)) == 1.0
    assert accuracy(alpaca_eval(small), aggregation="medoid") == 0.5


def test_the_benchmark_runs_as_it_stands(small: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.strategies", "recorded", str(small)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * PATIENCE, cwd=ROOT)  # noqa: S603  # our own
    assert run.returncode == 0, run.stderr
    assert "vote, best proposer first" in run.stdout
    assert "100.0%" in run.stdout


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Every second question of GSM8K."""
    pool = gsm8k(Path(str(DATA)))
    texts = dict([*pool.texts.items()][::2])
    return Pool(pool.name, pool.measure, texts, {question: pool.scores[question] for question in texts})


@pytest.fixture(scope="module")
def votes(pool: Pool) -> list[dict[str, Any]]:
    return pool.ask(pool.best_first(), **VOTE)


@recorded
class TestGsm8k:
    def test_a_vote_is_worth_more_than_a_random_pick_and_no_more_than_the_oracle(
        self, pool: Pool, votes: list[dict[str, Any]]
    ) -> None:
        random = fmean(fmean(scores.values()) for scores in pool.scores.values())
        oracle = fmean(max(scores.values()) for scores in pool.scores.values())
        assert random < accuracy(pool, **VOTE) <= fmean(pool.scored(votes)) < oracle

    def test_the_more_agree_the_more_often_they_are_right(self, pool: Pool, votes: list[dict[str, Any]]) -> None:
        right: dict[int, list[float]] = {}
        for account, value in zip(votes, pool.scored(votes), strict=True):
            right.setdefault(account["selected"]["votes"], []).append(value)
        means = [fmean(right[votes]) for votes in (1, 2, 3, 4)]
        assert means == sorted(means)
        assert means[-1] > 0.9

    def test_an_early_exit_saves_calls_and_costs_little(self, pool: Pool) -> None:
        best, *cheaper = pool.best_first()
        stop = {"agreement": {"threshold": 1, "extract": "number"}}
        accounts = pool.ask([cheaper, [best]], **VOTE, stop_when=stop)
        assert 0.1 < fmean("stopped" in account for account in accounts) < 0.2
        assert fmean(pool.scored(accounts)) >= fmean(pool.single(best))


@recorded
def test_an_answer_to_another_question_is_an_outlier() -> None:
    pool = alpaca_eval(Path(str(DATA)))
    answers = [list(texts.values()) for texts in list(pool.texts.values())[:200]]
    mixed = {
        f"q{n}": {**dict(zip("abcde", own, strict=False)), "intruder": answers[n - 1][-1]} for n, own in enumerate(answers)
    }
    same = {question: dict.fromkeys(texts, 0.0) for question, texts in mixed.items()}
    accounts = Pool("mixed", "", mixed, same).ask([*"abcde", "intruder"], aggregation="medoid", reference_filters=["outliers"])
    assert fmean("intruder" not in {each["name"] for each in account["merged"]} for account in accounts) > 0.8
