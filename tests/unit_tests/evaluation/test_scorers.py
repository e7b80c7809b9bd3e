"""Scorers: what counts as right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.evaluation.questions import Question
from langchain_moa.evaluation.scorers import exact, fitting, mathematical, numeric, resolve_scorer

if TYPE_CHECKING:
    from pathlib import Path


def _question(*answers: str) -> Question:
    return Question(id="1", text="?", answers=answers, place="line 7", fields={"level": 3})


@pytest.mark.parametrize(
    ("text", "answers", "score"),
    [
        ("Paris", ("paris",), 1),
        (" **Paris.** ", ("Paris",), 1),
        ("It lies in France.\nAnswer: Paris.", ("Paris",), 1),
        ("It is well known.\nParis", ("Paris",), 1),
        (r"So it is \boxed{Paris}.", ("Paris",), 1),
        ("New York", ("York", "New York"), 1),
        ("The answer is (B).", ("B",), 1),
        ("Paris or London", ("Paris",), 0),
        ("", ("Paris",), 0),
    ],
)
def test_exact(text: str, answers: tuple[str, ...], score: float) -> None:
    assert exact(text, _question(*answers)) == score


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        ("3 + 4 = 7, so the answer is 7.", "7", 1),
        ("It is $1,800.00", "1800", 1),
        ("-5", "5", 0),
        ("It is 50%.", "50", 1),
        ("50", "50%", 1),
        ("seven", "7", 0),
    ],
)
def test_numeric(text: str, answer: str, score: float) -> None:
    assert numeric(text, _question(answer)) == score


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        (r"Therefore \boxed{\frac{1}{2}}.", "0.5", 1),
        (r"It is $\frac{2}{4}$", r"\frac{1}{2}", 1),
        (r"\boxed{x^2 + 2x + 1}", "(x+1)^2", 1),
        (r"\boxed{3}", "4", 0),
        ("I do not know.", "4", 0),
    ],
)
def test_mathematical(text: str, answer: str, score: float) -> None:
    pytest.importorskip("math_verify", reason="the extra eval is not installed")
    assert mathematical(text, _question(answer)) == score


def test_the_scorer_that_suits() -> None:
    assert fitting([_question("7"), _question("1,800"), _question("$3.50"), _question("-2")]) == "numeric"
    assert fitting([_question("7"), _question("seven")]) == "exact"


def test_one_of_ones_own_is_given_the_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def score(answer, question):\n    return len(answer) / question['level']\n", encoding="utf-8")
    score = resolve_scorer(f"{path}:score")
    assert score("ab", _question()) == pytest.approx(2 / 3)
    with pytest.raises(EvaluationError, match=r"returned 2.0 for line 7; return a number from 0 to 1"):
        score("abcdef", _question())
    with pytest.raises(EvaluationError, match="has no function 'other'"):
        resolve_scorer(f"{path}:other")
    path.write_text("def score(answer, question):\n    return question['none']\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="raised KeyError for line 7: 'none'"):
        resolve_scorer(f"{path}:score")("a", _question())
    path.write_text("import nothing_of_this_name\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="raised ModuleNotFoundError"):
        resolve_scorer(f"{path}:score")
