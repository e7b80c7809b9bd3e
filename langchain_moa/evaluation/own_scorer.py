"""A scorer of the user's: a function in a Python file."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_moa.evaluation.questions import Question

_SHOWN = 60


def own_scorer(path: str, function: str, example: Question) -> Callable[[str, Question], float]:
    """Return the function as a scorer, once it has scored a question.

    Args:
        path: The file; what lies beside it can be imported by it.
        function: The function's name.
        example: A question to try it on, before anything is paid for.

    Raises:
        EvaluationError: There is no such file or function, or it raises, is async, or returns no number from 0 to 1.
    """
    name = f"scorer {path}:{function}"
    score = _loaded(path, function, name)
    if inspect.iscoroutinefunction(score):
        msg = f"{name} is async, and has to be a plain function"
        raise EvaluationError(msg)

    def checked(text: str, question: Question) -> float:
        try:
            value: Any = score(text, question.fields)
        except Exception as error:
            said = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
            msg = f"{name} raised {type(error).__name__} for {question.place} and the answer {said}: {error}"
            raise EvaluationError(msg) from error
        if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
            msg = f"{name} returned {value!r} for {question.place}; it has to be a number from 0 to 1"
            raise EvaluationError(msg)
        return float(value)

    checked(example.answers[0] if example.answers else "An answer.", example)
    return checked


def _loaded(path: str, function: str, name: str) -> Callable[..., Any]:
    file = Path(path)
    if not file.is_file():
        msg = f"{name}: there is no file {path}"
        raise EvaluationError(msg)
    # A name of its own: a file may be called like a module that others import.
    spec = importlib.util.spec_from_file_location(f"scorer of {path}", file)
    if spec is None or spec.loader is None:
        msg = f"{name}: {path} is no Python file"
        raise EvaluationError(msg)
    module = importlib.util.module_from_spec(spec)
    # It can import its neighbours, as in `python mine.py`; behind all others, so that none of them hides a module of ours. A
    # dataclass finds its module.
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        msg = f"{name}: {path} raised {type(error).__name__}: {error}"
        raise EvaluationError(msg) from error
    score: Any = getattr(module, function, None)
    if not callable(score):
        msg = f"{name}: {path} has no function {function!r}"
        raise EvaluationError(msg)
    return score  # type: ignore[no-any-return]  # whatever can be called
