"""Scorers, which rate an answer from 0 to 1."""

from __future__ import annotations

import importlib.util
import inspect
import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_moa.batch.limits import EvaluationError
from langchain_moa.data.rows import RowError
from langchain_moa.strategies.extract import boxed, letter, number
from langchain_moa.strategies.loading import load_function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.questions import Question


_SHOWN = 60


def own_scorer(path: str, function: str, example: Question) -> Callable[[str, Question], float]:
    """Load a function as a scorer, and try it on a question.

    Args:
        path: The file, which can import modules from its folder.
        function: The name of the function.
        example: The question to try it on, before any call is made.

    Raises:
        EvaluationError: The file or function does not exist, or the function is async, raises an error, or does not return a
            number from 0 to 1.
    """
    name = f"scorer {path}:{function}"
    try:
        score = load_function(f"{path}:{function}")
    except ValueError as error:
        msg = f"scorer {error}"
        raise EvaluationError(msg) from error
    if inspect.iscoroutinefunction(score):
        msg = f"{name} is async; a scorer must be a sync function"
        raise EvaluationError(msg)

    def checked(text: str, question: Question) -> float:
        try:
            value: Any = score(text, question.fields)
        except Exception as error:
            said = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
            msg = f"{name} raised {type(error).__name__} for {question.place} and the answer {said}: {error}"
            raise EvaluationError(msg) from error
        if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
            msg = f"{name} returned {value!r} for {question.place}; a scorer must return a number from 0 to 1"
            raise EvaluationError(msg)
        return float(value)

    checked(example.answers[0] if example.answers else "An answer.", example)
    return checked


Scorer = Callable[[str, "Question"], float]
"""A function that takes an answer and its question and returns a score from 0 to 1."""

BY_ANSWER_TYPE = "numeric where the right answer is a number, exact elsewhere"
"""The description of the default scorer."""

_NUMBER = re.compile(r"[-+\u2212]?[$€£]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?")
_OPTION = re.compile(r"[a-j]")

# Characters around an answer that are ignored: quotes, brackets, Markdown emphasis and punctuation.
_AROUND = " \t.,;:!?\"'`*_~()[]$\u2026\u201c\u201d\u2018\u2019\u00ab\u00bb\u3002\uff0c\uff01\uff1f"

# East Asian scripts are written without spaces between words.
_WIDE = {"W", "F"}

# An escaped dollar sign in LaTeX, which does not start mathematics.
_DOLLARS = r"\$"

# Before the end of a line: the sign or the first part of a number that goes on there.
_NUMBER_BEGINS = re.compile(r"(?:\d[.,:/'\u2019\u2013-]|(?<![\w.])[-.\u2212])\Z")

_SECONDS = 5


def exact(text: str, question: Question) -> float:
    r"""Score 1 if the answer, its `\boxed{...}` or the end of its last line is an accepted answer; otherwise 0.

    Case, surrounding punctuation, Markdown emphasis and the Unicode normalization of characters are ignored. If the accepted
    answers are letters of options and the answer states a letter, only that letter counts.
    """
    wanted = {_plain(answer) for answer in question.answers}
    if all(_OPTION.fullmatch(answer) for answer in wanted) and (said := letter(text)) is not None:
        return float(_plain(said) in wanted)
    lines = [line for line in text.splitlines() if line.strip()]
    last = _plain(lines[-1]) if lines else ""
    whole = {_plain(text), _plain(boxed(text) or "")}
    return float(any(answer in whole or _ends_with(last, answer) for answer in wanted))


def numeric(text: str, question: Question) -> float:
    """Score 1 if the final number of the answer is an accepted one, ignoring percent signs; `1,800.0` equals `1800`."""
    found = _without_percent(number(boxed(text) or text))
    return float(found is not None and found in {_without_percent(number(answer)) for answer in question.answers})


def mathematical(text: str, question: Question) -> float:
    r"""Score 1 if the final expression of the answer equals an accepted one: `\frac{1}{2}` equals `0.5`."""
    from math_verify import verify

    found = _parsed(text)
    right = (_parsed(_as_mathematics(answer)) for answer in question.answers)
    return float(any(verify(answer, found, timeout_seconds=_limit()) for answer in right))


def by_answer_type(text: str, question: Question) -> float:
    """Score with `numeric` against accepted answers that are numbers, and with `exact` against the others."""
    numbers = tuple(answer for answer in question.answers if _is_number(answer))
    others = tuple(answer for answer in question.answers if not _is_number(answer))
    right = bool(numbers) and numeric(text, replace(question, answers=numbers))
    return float(right or (bool(others) and exact(text, replace(question, answers=others))))


SCORERS: dict[str, Scorer] = {"exact": exact, "numeric": numeric, "math": mathematical}


def resolve_scorer(name: str | None, questions: Sequence[Question]) -> Scorer:
    """Return the scorer with a name, and check that it can score the questions.

    Args:
        name: `exact`, `numeric`, `math`, or `file.py:function` for your own function, which takes the answer and the fields of
            the question's line, and returns a number from 0 to 1 or a bool. `None` chooses by question: `numeric` if the
            accepted answer is a number, otherwise `exact`.
        questions: The questions.

    Raises:
        EvaluationError: The scorer, file or function does not exist or fails, or a package is missing.
        RowError: The scorer does not support an accepted answer.
    """
    if name is None:
        return by_answer_type
    if name not in SCORERS:
        path, separator, function = name.rpartition(":")
        if not separator or not path.endswith(".py"):
            msg = f"unknown scorer {name!r}; choose one of: {', '.join(SCORERS)}, judge, or file.py:function for your own"
            raise EvaluationError(msg)
        return own_scorer(path, function, questions[0])
    if name == "math" and importlib.util.find_spec("math_verify") is None:
        msg = 'the scorer math needs another package: pip install "langchain-moa[eval]"'
        raise EvaluationError(msg)
    checks = {"numeric": (_is_number, "no number"), "math": (_is_mathematics, "no mathematical expression")}
    fits, what = checks.get(name, (bool, "empty"))
    for question in questions:
        for answer in question.answers:
            if not fits(answer):
                msg = f"{question.place}: the answer {answer!r} is {what}, and --scorer {name} cannot compare it"
                raise RowError(msg)
    return SCORERS[name]


def _without_percent(found: str | None) -> str | None:
    return found and found.removesuffix("%")


def _plain(text: str) -> str:
    line = " ".join(unicodedata.normalize("NFC", text).split())
    # An answer may consist of punctuation only.
    return unicodedata.normalize("NFC", (line.strip(_AROUND) or line).casefold())


def _ends_with(line: str, answer: str) -> bool:
    """Return whether a line ends with an answer that does not start within a word or a number."""
    if not answer or not line.endswith(answer):
        return False
    said = line[: -len(answer)]
    if answer[0].isdecimal() and _NUMBER_BEGINS.search(said[-2:]) is not None:
        return False
    before = said[-1:]
    return not before.isalnum() or unicodedata.east_asian_width(before) in _WIDE


def _is_number(answer: str) -> bool:
    return _NUMBER.fullmatch(answer.strip()) is not None and number(answer) is not None


def _is_mathematics(answer: str) -> bool:
    # Unparsed text is compared as text, but an incomplete expression would never match.
    return bool(_parsed(_as_mathematics(answer))) and answer.count("{") == answer.count("}")


def _as_mathematics(answer: str) -> str:
    return answer if "$" in answer.replace(_DOLLARS, "") or "\\boxed" in answer else f"${answer}$"


def _parsed(text: str) -> list[object]:
    from math_verify import parse

    return list(parse(text.replace(_DOLLARS, ""), parsing_timeout=_limit()))


def _limit() -> int | None:
    # math-verify implements its time limits with signals, which only the main thread can use.
    return _SECONDS if threading.current_thread() is threading.main_thread() else None
