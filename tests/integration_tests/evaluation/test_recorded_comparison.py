"""The comparison of recorded models, on small data with known results, and on real data if it is available."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.recorded import alpaca_eval, gsm8k
from benchmarks.recorded_comparison import compared, mixture_of
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from langchain_moa.evaluation.summary import ComparisonSummary

ROOT = Path(__file__).parents[3]
DATA = os.environ.get("LANGCHAIN_MOA_DATA")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Data in the same format."""
    # The answers of m0, m1 and m2 and the right one for each question: m0 is best with 3 of 5, and all are wrong once.
    answers = [("3", "4", "4", "4"), ("5", "5", "6", "5"), ("6", "7", "8", "6"), ("9", "1", "9", "9"), ("1", "1", "2", "3")]
    rows: list[dict[str, Any]] = [
        {"question": f"q{n}", "answer": right, "recorded": {f"m{m}": f"A: {text}" for m, text in enumerate(texts)}}
        for n, (*texts, right) in enumerate(answers)
    ]
    (tmp_path / "gsm8k_recorded.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    outputs = [{"output": "the sky is blue", "preference": 0.25}, {"output": "grass", "preference": 0.75}]
    rows = [{"instruction": f"i{n}", "recorded": {f"m{m}": outputs[m == 3] for m in range(4)}} for n in range(3)]
    (tmp_path / "alpaca_eval_recorded.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def scores(summary: ComparisonSummary) -> dict[str, float]:
    return {each.name: round(each.score, 3) for each in summary.figures}


def test_figures_that_are_known(small: Path) -> None:
    pool = gsm8k(small)
    summary = compared(pool, mixture_of(pool))
    assert scores(summary) == {
        # If all answers differ, the best model's answer is used.
        "the mixture": 0.8,
        "after layer 1": 0.4,
        "m2 alone": 0.4,
        "m1 alone": 0.4,
        "m0 alone, of layer 2": 0.6,
    }
    assert summary.all_wrong == 0.2
    assert [each.calls for each in summary.figures] == [5, 2, 1, 1, 1]
    pool = alpaca_eval(small)
    summary = compared(pool, mixture_of(pool))
    # Three of four give the same answer, but the judge prefers another.
    assert scores(summary)["the mixture"] == 0.25
    assert scores(summary)["m3 alone, of layer 2"] == 0.75
    assert not summary.problems


def test_the_script_runs_as_it_stands(small: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.recorded_comparison", str(small)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10 * PATIENCE, cwd=ROOT)  # noqa: S603  # our own
    assert run.returncode == 0, run.stderr
    assert "| the mixture | 80.0 (" in run.stdout
    assert "Self-MoA, the best member asked as often as the mixture asks all, is left out" in run.stdout


@pytest.mark.skipif(DATA is None, reason="LANGCHAIN_MOA_DATA does not name a folder with gsm8k_recorded.jsonl")
def test_the_figures_of_the_docs() -> None:
    pool = gsm8k(Path(str(DATA)))
    summary = compared(pool, mixture_of(pool))
    page = (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8")
    for name, score in scores(summary).items():
        assert f"| {name} | {100 * score:.1f} (" in page
