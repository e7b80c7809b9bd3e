"""Scorers: which answers are correct."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from langchain_moa.batch.limits import EvaluationError
from langchain_moa.data.rows import RowError
from langchain_moa.evaluation.questions import Question
from langchain_moa.evaluation.scorers import exact, mathematical, numeric, resolve_scorer
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the time limit for comparing expressions; by default, a comparison that takes over five seconds scores 0."""
    monkeypatch.setattr("langchain_moa.evaluation.scorers._SECONDS", int(PATIENCE))


def _question(*answers: str) -> Question:
    return Question(id="1", text="?", answers=answers, place="q.jsonl, line 7", fields={"level": 3})


@pytest.mark.parametrize(
    ("text", "answers", "score"),
    [
        ("Paris", ("paris",), 1),
        (" **Paris.** ", ("Paris",), 1),
        ("The capital of Australia is Canberra.", ("Canberra",), 1),
        ("It's Canberra!", ("Canberra",), 1),
        ("It is **Canberra**.", ("Canberra",), 1),
        ("Its capital is \u201cCanberra\u201d.", ("Canberra",), 1),
        ("It lies in France.\nAnswer: Paris.", ("Paris",), 1),
        ("It is well known.\nParis\n\n", ("Paris",), 1),
        (r"So it is \boxed{Paris}, in France.", ("Paris",), 1),
        ("It is called New York.", ("London", "New York"), 1),
        ("A cafe\u0301", ("caf\u00e9",), 1),
        ("\u9996\u90fd\u662f\u5df4\u9ece\u3002", ("\u5df4\u9ece",), 1),
        ("*", ("*",), 1),
        ("Paris or London", ("Paris",), 0),
        ("Canberra is its capital.\nSydney is larger.", ("Canberra",), 0),
        ("It is a kangaroo", ("roo",), 0),
        ("It takes 185", ("85",), 0),
        ("It takes 85 minutes.", ("85",), 0),
        ("It is 5 km", ("5 km",), 1),
        ("Well...5 km", ("5 km",), 1),
        ("It is B-5", ("5",), 1),
        ("It is 12.5 km", ("5 km",), 0),
        ("It is .5 km", ("5 km",), 0),
        ("It is -5 km", ("5 km",), 0),
        ("It is \u22125 km", ("5 km",), 0),
        ("It is 3-5 km", ("5 km",), 0),
        ("It is 10:30 am", ("30 am",), 0),
        ("It is 3/4", ("4",), 0),
        ("", ("Paris",), 0),
        ("", ("*",), 0),
    ],
)
def test_exact(text: str, answers: tuple[str, ...], score: float) -> None:
    assert exact(text, _question(*answers)) == score


@pytest.mark.parametrize(
    ("text", "answer", "score"),
    [
        ("The answer is (B).", "B", 1),
        ("The answer is (B), and not A", "A", 0),
        ("B", "b", 1),
        ("It must be option B", "B", 1),
        ("I do not know", "B", 0),
    ],
)
def test_exact_with_the_letter_of_an_option(text: str, answer: str, score: float) -> None:
    assert exact(text, _question(answer)) == score


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
        (r"It costs \$32,348.", r"\$32,\!348", 1),
        (r"\boxed{3}", "4", 0),
        ("I do not know.", "4", 0),
    ],
)
def test_mathematical(text: str, answer: str, score: float) -> None:
    pytest.importorskip("math_verify", reason="the extra eval is not installed")
    assert mathematical(text, _question(answer)) == score


@pytest.mark.parametrize(
    ("text", "answers", "score"),
    [
        ("It takes 85 minutes.", ("85",), 1),
        ("It takes 85 minutes.", ("eighty-five minutes", "85"), 1),
        ("It takes eighty-five minutes.", ("85", "eighty-five minutes"), 1),
        ("The capital of Australia is Canberra.", ("Canberra",), 1),
        ("It takes 58 minutes.", ("85",), 0),
        ("Sydney", ("Canberra",), 0),
    ],
)
def test_each_question_is_scored_as_suits_it(text: str, answers: tuple[str, ...], score: float) -> None:
    assert resolve_scorer(None, [_question("Canberra"), _question("85")])(text, _question(*answers)) == score


@pytest.mark.parametrize(
    ("scorer", "answer", "said"),
    [
        ("numeric", "two", "no number"),
        ("numeric", "3/2", "no number"),
        ("numeric", "10:30", "no number"),
        ("math", "garbage {{{", "no mathematical expression"),
    ],
)
def test_a_right_answer_that_a_scorer_cannot_compare_is_named(scorer: str, answer: str, said: str) -> None:
    pytest.importorskip("math_verify", reason="the extra eval is not installed")
    questions = [_question("7"), _question("1,800", "$3.50"), _question("-2"), _question("50%"), _question(answer)]
    resolve_scorer(scorer, questions[:-1])
    with pytest.raises(RowError, match=rf"q.jsonl, line 7: the answer {re.escape(repr(answer))} is {said}"):
        resolve_scorer(scorer, questions)


@pytest.mark.parametrize(
    "answer", [r"\text{(E)}", r"\frac{1}{2}", r"x \in [-2,7]", r"11,\! 111", r"\text{Navin}", "(3,4)", r"\$32,\!348"]
)
def test_answers_of_math_can_be_compared(answer: str) -> None:
    pytest.importorskip("math_verify", reason="the extra eval is not installed")
    score = resolve_scorer("math", [_question(answer)])
    assert score(rf"So it is $\boxed{{{answer}}}$.", _question(answer)) == 1


def _own(folder: Path, code: str) -> str:
    path = folder / "json.py"  # has the name of a module of Python, which must stay unchanged
    path.write_text(code, encoding="utf-8")
    return f"{path}:score"


def test_one_of_ones_own_is_given_the_line_and_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("def length(text):\n    return len(text)\n", encoding="utf-8")
    code = "import beside_it\n\ndef score(answer, question):\n    return beside_it.length(answer) / question['level']\n"
    score = resolve_scorer(_own(tmp_path, code), [_question("a")])
    assert score("ab", _question()) == pytest.approx(2 / 3)
    with pytest.raises(EvaluationError, match=r"returned 2.0 for q.jsonl, line 7; a scorer must return a number from 0 to 1"):
        score("abcdef", _question())
    assert sys.modules["json"].__name__ == "json"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def other(answer, question):\n    return 1\n", "has no function 'score'"),
        ("def score(answer, question):\n    return question['none']\n", "raised KeyError for q.jsonl, line 7 .*: 'none'"),
        ("async def score(answer, question):\n    return 1\n", "is async; a scorer must be a sync function"),
        ("def score(answer, question):\n    return None\n", "returned None for q.jsonl, line 7"),
        ("import nothing_of_this_name\n", "raised ModuleNotFoundError"),
    ],
)
def test_one_of_ones_own_is_tried_before_anything_is_paid_for(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        resolve_scorer(_own(tmp_path, code), [_question("a")])
