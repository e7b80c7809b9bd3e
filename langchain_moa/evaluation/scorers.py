"""Scorers: how good an answer is, from 0 to 1."""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.strategies.extract import boxed, letter, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.questions import Question

Scorer = Callable[[str, "Question"], float]
"""From an answer and its question to a score from 0 to 1."""

_SAID = re.compile(r"(?:\A|\n|\b)(?:final )?answer(?: is)?\s*:?\s*(.+?)\s*\Z", re.IGNORECASE)
_SECONDS = 5


def exact(text: str, question: Question) -> float:
    r"""Score 1 where the answer is one of the right ones, whatever its case, its punctuation and the spaces around it.

    The whole text counts, and of a longer one its `\boxed{...}`, what it says behind "Answer:", its last line, and the
    letter of an option where the right answer is one.
    """
    wanted = {_plain(answer) for answer in question.answers}
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    said = _SAID.search(last)
    found = [text, last, boxed(text) or "", said[1] if said else ""]
    if all(re.fullmatch(r"[a-j]", answer) for answer in wanted):
        found.append(letter(text) or "")
    return float(any(_plain(each) in wanted for each in found if each.strip()))


def numeric(text: str, question: Question) -> float:
    """Score 1 where the final number of the answer is a right one, with a percent sign or without; `1,800.0` is `1800`."""
    found = _without_percent(number(boxed(text) or text))
    return float(found is not None and found in {_without_percent(number(answer)) for answer in question.answers})


def mathematical(text: str, question: Question) -> float:
    r"""Score 1 where the final expression of the answer equals a right one: `\frac{1}{2}` is `0.5`."""
    from math_verify import parse, verify

    # Its limits of time are alarms, which only the main thread can set.
    seconds = _SECONDS if threading.current_thread() is threading.main_thread() else None
    found = parse(text, parsing_timeout=seconds)

    def equals(answer: str) -> bool:
        written = answer if "$" in answer or "\\boxed" in answer else f"${answer}$"
        return bool(verify(parse(written, parsing_timeout=seconds), found, timeout_seconds=seconds))

    return float(any(equals(answer) for answer in question.answers))


SCORERS: dict[str, Scorer] = {"exact": exact, "numeric": numeric, "math": mathematical}


def resolve_scorer(name: str) -> Scorer:
    """Return the scorer that a name stands for.

    Args:
        name: `exact`, `numeric`, `math`, or `file.py:function` for a function of yours: it is given the answer, and the
            question's line as a mapping, and returns a number from 0 to 1 or a truth value.

    Raises:
        EvaluationError: There is no such scorer, file or function, or a package is missing.
    """
    if name == "math" and importlib.util.find_spec("math_verify") is None:
        msg = 'the scorer math takes a package: pip install "langchain-moa[eval]"'
        raise EvaluationError(msg)
    if name in SCORERS:
        return SCORERS[name]
    path, separator, function = name.rpartition(":")
    if not separator or not path.endswith(".py"):
        msg = f"unknown scorer {name!r}; known are {', '.join(SCORERS)}, judge, and file.py:function for one of yours"
        raise EvaluationError(msg)
    return _of_user(path, function)


def fitting(questions: Sequence[Question]) -> str:
    """Return the name of the scorer that suits questions: `numeric` where all right answers are numbers, or else `exact`."""
    answers = [answer for question in questions for answer in question.answers]
    is_number = re.compile(r"[-\u2212$]?[\d,]*\.?\d+%?")
    return "numeric" if answers and all(is_number.fullmatch(answer.strip()) for answer in answers) else "exact"


def _of_user(path: str, function: str) -> Scorer:
    if not Path(path).is_file():
        msg = f"scorer {path}:{function}: there is no file {path}"
        raise EvaluationError(msg)
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        msg = f"scorer {path}:{function}: {path} is no Python file"
        raise EvaluationError(msg)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        msg = f"scorer {path}:{function}: {path} raised {type(error).__name__}: {error}"
        raise EvaluationError(msg) from error
    score = getattr(module, function, None)
    if not callable(score):
        msg = f"scorer {path}:{function}: {path} has no function {function!r}"
        raise EvaluationError(msg)

    def checked(text: str, question: Question) -> float:
        try:
            value: Any = score(text, question.fields)
        except Exception as error:
            msg = f"scorer {path}:{function} raised {type(error).__name__} for {question.place}: {error}"
            raise EvaluationError(msg) from error
        if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
            msg = f"scorer {path}:{function} returned {value!r} for {question.place}; return a number from 0 to 1"
            raise EvaluationError(msg)
        return float(value)

    return checked


def _without_percent(found: str | None) -> str | None:
    return found and found.removesuffix("%")


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" \t.,;:!?\"'`*()[]$").casefold()
