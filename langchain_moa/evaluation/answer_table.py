"""The answers of several models to the same questions, as arrays of short answers, scores and costs."""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_moa.batch.limits import EvaluationError, tokens_in
from langchain_moa.data.recorded import recorded_texts, recorded_values
from langchain_moa.data.rows import RowError, read_rows
from langchain_moa.data.usage import cost_usd
from langchain_moa.evaluation.questions import Question, questions_of
from langchain_moa.evaluation.scorers import by_answer_type
from langchain_moa.strategies.extract import EXTRACTORS
from langchain_moa.strategies.extract.letters import plain
from langchain_moa.strategies.extract.numbers import numerals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from langchain_moa.data.rows import Row
    from langchain_moa.evaluation.scorers import Scorer

EXTRACTS = ("auto", "number", "letter", "boxed", "literal", "text")
"""The ways to extract short answers. `auto` guesses one from the correct answers."""

_CHARACTERS = 4
_MOST_LETTERS = "ABCDEFGHIJ"

_BRACKET = re.compile(r"[\[({]")

# The share of the correct answers that must be of a kind.
_ALMOST_ALL = 0.98


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One answer of one model.

    Attributes:
        text: The answer, or `None` if the call failed.
        score: The score, from 0 to 1.
        short: The short answer that votes are counted by, or `None`.
        cost_usd: The cost in US dollars, or `None` if it is unknown.
    """

    text: str | None
    score: float
    short: str | None
    cost_usd: float | None = None

    @property
    def price(self) -> float:
        """The cost in US dollars, or NaN if it is unknown. A failed call without a cost is free."""
        if self.cost_usd is not None:
            return self.cost_usd
        return 0.0 if self.text is None else math.nan


@dataclass(frozen=True, kw_only=True)
class AnswerTable:
    """The answers of several models to the same questions. Each column is one sample of one model.

    Attributes:
        questions: The questions, in order.
        models: The names of the models.
        samples: The columns of each model's samples.
        labels: By question and column, a number that is the same for equal short answers of a question; -1 for none.
        scores: By question and column, the score of the answer, from 0 to 1.
        answered: By question and column, whether the call has an answer.
        costs: By question and column, the cost in US dollars, or NaN if it is unknown. Failed calls without a cost are free.
        shorts: By question and column, the short answer, or `None`.
        extract: How short answers were extracted.
    """

    questions: Sequence[Question]
    models: Sequence[str]
    samples: Sequence[Sequence[int]]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    answered: NDArray[np.bool_]
    costs: NDArray[np.float64]
    shorts: Sequence[Sequence[str | None]]
    extract: str

    @classmethod
    def of(
        cls,
        questions: Sequence[Question],
        answers: Mapping[str, Sequence[Sequence[Sample]]],
        *,
        extract: str,
    ) -> AnswerTable:
        """Create a table.

        Args:
            questions: The questions.
            answers: By model, the samples for each question.
            extract: How short answers were extracted.
        """
        import numpy as np

        samples: list[tuple[int, ...]] = []
        columns: list[list[Sample]] = []
        for of_model in answers.values():
            count = max(map(len, of_model))
            samples.append(tuple(range(len(columns), len(columns) + count)))
            # A single null stands for several failed calls.
            columns += [[each[place % len(each)] for each in of_model] for place in range(count)]
        rows = list(zip(*columns, strict=True))
        return cls(
            questions=questions,
            models=list(answers),
            samples=samples,
            labels=np.array([_numbered([each.short for each in row]) for row in rows]),
            scores=np.array([[each.score for each in row] for row in rows], dtype=float),
            answered=np.array([[each.text is not None for each in row] for row in rows]),
            costs=np.array([[each.price for each in row] for row in rows], dtype=float),
            shorts=[[each.short for each in row] for row in rows],
            extract=extract,
        )

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.questions)

    @property
    def is_priced(self) -> bool:
        """Whether the price of every answer is known."""
        import numpy as np

        return not bool(np.isnan(self.costs).any())

    def only(self, models: Sequence[int]) -> AnswerTable:
        """Return the table of some of the models.

        Args:
            models: The indices of the models.
        """
        columns = [column for model in models for column in self.samples[model]]
        place = {column: number for number, column in enumerate(columns)}
        return replace(
            self,
            models=[self.models[model] for model in models],
            samples=[tuple(place[column] for column in self.samples[model]) for model in models],
            labels=self.labels[:, columns],
            scores=self.scores[:, columns],
            answered=self.answered[:, columns],
            costs=self.costs[:, columns],
            shorts=[[row[column] for column in columns] for row in self.shorts],
        )

    def rows(self, places: NDArray[np.int64] | Sequence[int]) -> AnswerTable:
        """Return the table of some of the questions.

        Args:
            places: The indices of the questions.
        """
        return replace(
            self,
            questions=[self.questions[place] for place in places],
            labels=self.labels[places],
            scores=self.scores[places],
            answered=self.answered[places],
            costs=self.costs[places],
            shorts=[self.shorts[place] for place in places],
        )


def guess_extract(answers: Sequence[str]) -> str:
    """Guess from the correct answers how to extract short answers.

    Args:
        answers: The correct answers.

    Returns:
        `letter` for options, `number` for numbers, `boxed` for mathematical expressions, `literal` for values of Python or
        JSON, and `text` otherwise.

    Example:
        ```python
        from langchain_moa.evaluation.answer_table import guess_extract

        print(guess_extract(["18", "3.5", "$1,200"]), guess_extract(["B", "A"]), guess_extract(["[1, 2]", "'a'"]))
        ```
    """
    kinds: list[tuple[str, Callable[[str], bool]]] = [
        ("letter", lambda answer: len(answer) == 1 and answer in _MOST_LETTERS),
        ("number", _is_number),
        ("boxed", lambda answer: _has_number(answer) or _is_mathematics(answer)),
        ("literal", _is_literal),
    ]
    for name, fits in kinds:
        if name == "boxed" and not any(map(_is_mathematics, answers)):
            continue  # lists of numbers
        if answers and sum(map(fits, map(str.strip, answers))) >= _ALMOST_ALL * len(answers):
            return name
    return "text"


def short_answer(text: str, extract: str) -> str | None:
    """Extract the short answer of a text, which votes are counted by.

    Args:
        text: The text.
        extract: How to extract it: `number`, `letter`, `boxed`, `literal` or `text`.
    """
    return EXTRACTORS[extract](text) or None


def grade(text: str, question: Question, extract: str, scorer: Scorer | None = None) -> float:
    """Return the score of an answer, from 0 to 1.

    Args:
        text: The answer.
        question: The question, with its correct answers.
        extract: How to extract short answers.
        scorer: The scorer. Default: 1 if the short answer equals that of a correct answer, or if `by_answer_type` scores it as
            correct; otherwise 0.
    """
    if scorer is not None:
        return float(scorer(text, question))
    short = short_answer(text, extract)
    right = {short_answer(answer, extract) or answer for answer in question.answers}
    return 1.0 if short is not None and short in right else float(by_answer_type(text, question))


def read_recorded(
    path: str | Path,
    *,
    questions: Sequence[Question] | None = None,
    candidates: Sequence[str] = (),
    extract: str = "auto",
    scorer: Scorer | None = None,
) -> AnswerTable:
    """Read recorded answers in the format of `replay:` members, for `langchain-moa tune`.

    If every line has a `score` for every candidate, these scores are used; otherwise the answers are scored.

    Args:
        path: The file, with a question, its correct answer, and `recorded` by model on each line.
        questions: The questions to use. Default: those of the file.
        candidates: The models to use. Default: all recorded ones.
        extract: How to extract short answers. Default: guessed from the correct answers.
        scorer: The scorer, which overrides scores in the file. Default: see `grade`.

    Raises:
        RowError: The file cannot be read, or one of its lines is invalid.
        EvaluationError: A candidate is not recorded, or none of the questions is.
    """
    rows = read_rows(path)
    known = list(dict.fromkeys(model for row in rows for model in row.get("recorded", dict)))
    if missing := [name for name in candidates if name not in known]:
        msg = f"--candidate {missing[0]}: {path} has no answers of it; it has {', '.join(known)}"
        raise EvaluationError(msg)
    models = list(dict.fromkeys(candidates)) or known
    by_question = {row.text("question"): row for row in reversed(rows)}
    if questions is None:
        questions = questions_of(rows, needs_answers=False)
    elif not any(question.text in by_question for question in questions):
        msg = (
            f"{path} has no answer to any of the questions in exactly the same words; give the file that was used for recording"
        )
        raise EvaluationError(msg)
    used = [question for question in questions if question.text in by_question]
    scored = scorer is None and all(_has_scores(by_question[question.text], models) for question in used)
    if not scored:
        for question in used:
            if not question.answers:
                msg = f"{question.place}: no right answer, and no recorded 'score' of every candidate; add one of them"
                raise RowError(msg)
    extract = guess_extract([answer for question in used for answer in question.answers]) if extract == "auto" else extract
    answers: dict[str, list[list[Sample]]] = {}
    for model in models:
        answers[model] = [
            _samples(by_question[each.text], each, model, extract=extract, scorer=None if scored else scorer, scored=scored)
            for each in used
        ]
    return AnswerTable.of(used, answers, extract=extract)


def _samples(row: Row, question: Question, model: str, *, extract: str, scorer: Scorer | None, scored: bool) -> list[Sample]:
    texts = recorded_texts(row, model)
    if scored:
        scores = recorded_values(row, "score", model, len(texts), most=1)
    else:
        scores = [None if text is None else grade(text, question, extract, scorer) for text in texts]
    costs, lengths = (recorded_values(row, field, model, len(texts)) for field in ("cost_usd", "chars"))
    found = []
    for text, score, cost, length in zip(texts, scores, costs, lengths, strict=True):
        price = cost
        if cost is None and text is not None:
            price = _list_price(model, question, math.ceil((len(text) if length is None else length) / _CHARACTERS))
        short = None if text is None else short_answer(text, extract)
        found.append(Sample(text=text, score=float(score or 0), short=short, cost_usd=price))
    return found


def _list_price(model: str, question: Question, written: int) -> float | None:
    if ":" not in model:
        return None
    read = tokens_in(question.text)
    return cost_usd(model, {"input_tokens": read, "output_tokens": written, "total_tokens": read + written})


def _has_scores(row: Row, models: Sequence[str]) -> bool:
    scores = row.data.get("score")
    return isinstance(scores, dict) and all(model in scores for model in models)


def _numbered(shorts: Sequence[str | None]) -> list[int]:
    numbers: dict[str, int] = {}
    return [-1 if short is None else numbers.setdefault(short, len(numbers)) for short in shorts]


def _is_number(answer: str) -> bool:
    # The extractor returns the last of several numbers, which is not the whole answer.
    return _has_number(answer) and len(numerals(plain(answer))) == 1 and _BRACKET.search(answer) is None


def _has_number(answer: str) -> bool:
    return EXTRACTORS["number"](answer) is not None and not any(character.isalpha() for character in answer)


def _is_mathematics(answer: str) -> bool:
    return "\\" in answer or "^" in answer


def _is_literal(answer: str) -> bool:
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        try:
            ast.literal_eval(answer)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return False
    return True
