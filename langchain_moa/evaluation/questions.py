"""The questions of an evaluation, from a file or GSM8K."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage

from langchain_moa.batch.limits import EvaluationError
from langchain_moa.data.rows import Row, RowError, csv_rows, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.messages import BaseMessage

_QUESTION = ("question", "input", "prompt", "instruction")
_ANSWER = ("answer", "target")

# Answers in GSM8K are a derivation, then this mark and the number.
_GSM8K_MARK = "####"

_EMPTY = "the answer is empty; only the scorer judge, or one in Python, can do without"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        id: The `id` of its line, or the line number.
        text: The text of the question.
        answers: The accepted answers; may be empty.
        system: The system message, or `None`.
        place: A description of its file and line.
        fields: All fields of the line, for custom scorers.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    system: str | None = None
    place: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def messages(self) -> list[BaseMessage]:
        """The messages to send."""
        return [*([SystemMessage(self.system)] if self.system else []), HumanMessage(self.text)]


def read_questions(
    path: str | Path,
    *,
    question_field: str | None = None,
    answer_field: str | None = None,
    needs_answers: bool = True,
    limit: int | None = None,
) -> list[Question]:
    """Read questions from a JSONL file, a JSON file with a list of objects, or a CSV file.

    Args:
        path: The file.
        question_field: The key of the question. Default: `question`, `input`, `prompt` or `instruction`.
        answer_field: The key of the correct answer, or of a list of accepted answers. Default: `answer` or `target`.
        needs_answers: Whether a question without an answer is an error.
        limit: The number of first questions to read. Default: all.

    Raises:
        RowError: The file cannot be read, or a line is invalid. The message has the file and the line.

    Example:
        ```python
        from langchain_moa.evaluation.questions import read_questions

        with open("questions.jsonl", "w") as file:
            file.write('{"question": "What is the capital of Australia?", "answer": "Canberra"}')
        [question] = read_questions("questions.jsonl")
        print(question.text, question.answers)
        ```
    """
    if not Path(path).exists():
        msg = f"{path}: there is no such file; give a JSONL or CSV file, or gsm8k"
        raise RowError(msg)
    reader = _Reader(
        question=(question_field,) if question_field else _QUESTION,
        answer=(answer_field,) if answer_field else _ANSWER,
        needs_answers=needs_answers,
    )
    rows = _csv_rows(Path(path)) if Path(path).suffix.lower() == ".csv" else read_rows(path)
    return reader.read(rows[:limit])


def _csv_rows(path: Path) -> list[Row]:
    """Read a CSV file with a header."""
    rows = [*csv_rows(path)]
    if not rows:
        msg = f"{path} has no rows"
        raise RowError(msg)
    return rows


def questions_of(rows: Iterable[Row], *, needs_answers: bool = True) -> list[Question]:
    """Convert rows to questions.

    Args:
        rows: The rows.
        needs_answers: Whether a question without an answer is an error. Default: yes.

    Raises:
        RowError: A row is invalid. The message has the file and the line.
    """
    return _Reader(question=_QUESTION, answer=_ANSWER, needs_answers=needs_answers).read(rows)


def gsm8k(*, limit: int | None = None) -> list[Question]:
    """Return the 1,319 test questions of GSM8K, from the Hugging Face Hub or its local cache.

    Args:
        limit: The number of first questions to read. Default: all.

    Raises:
        EvaluationError: The package `datasets` is missing, or the hub cannot be reached.
    """
    remedy = "download test.jsonl from github.com/openai/grade-school-math and give --task test.jsonl"
    try:
        from datasets import load_dataset
    except ImportError as error:
        msg = f"gsm8k: downloading it needs another package: pip install datasets; or {remedy}"
        raise EvaluationError(msg) from error
    try:
        data: Iterable[Any] = load_dataset("openai/gsm8k", "main", split="test")
    except Exception as error:  # the hub's client raises errors of its HTTP client
        msg = f"gsm8k: it could not be downloaded from the Hugging Face hub ({type(error).__name__}); {remedy}"
        raise EvaluationError(msg) from error
    rows = [Row("gsm8k", line, each) for line, each in enumerate(data, start=1)]
    return _Reader(question=("question",), answer=("answer",), needs_answers=True).read(rows[:limit])


@dataclass(frozen=True, kw_only=True)
class _Reader:
    question: Sequence[str]
    answer: Sequence[str]
    needs_answers: bool

    def read(self, rows: Iterable[Row]) -> list[Question]:
        """Convert rows to questions, without duplicates."""
        questions: list[Question] = []
        ids: dict[str, int] = {}
        asked: dict[tuple[str | None, str], int] = {}
        repeated: list[tuple[str, int]] = []
        for row in rows:
            question = self._question(row)
            if (before := ids.setdefault(question.id, row.line)) != row.line:
                row.refuse(f"the id {question.id!r} is also in line {before}; each question needs its own id")
            if (before := asked.setdefault((question.system, question.text), row.line)) != row.line:
                # Duplicates would count as independent evidence.
                repeated.append((row.place, before))
                continue
            questions.append(question)
        if repeated:
            place, before = repeated[0]
            more = f", and {len(repeated) - 1:,} more" if len(repeated) > 1 else ""
            warnings.warn(f"{place} is skipped: the same question is in line {before}{more}", stacklevel=3)
        return questions

    def _question(self, row: Row) -> Question:
        text = self._column(row, self.question, what="question")
        if not isinstance(text, str) or not text.strip():
            row.refuse("the question must be a text that is not empty")
        system = row.data.get("system")
        if system is not None and not isinstance(system, str):
            row.refuse(f"system must be a text, not {type(system).__name__}")
        for said, what in ((text, "the question"), (system or "", "system")):
            row.require_whole(said, what)
        return Question(
            id=str(row.data.get("id", row.line)),
            text=text,
            answers=self._answers(row),
            system=system,
            place=row.place,
            fields=row.data,
        )

    def _answers(self, row: Row) -> tuple[str, ...]:
        if not self.needs_answers and not any(name in row.data for name in self.answer):
            return ()
        given = self._column(row, self.answer, what="answer")
        if given in (None, "", []):
            if self.needs_answers:
                row.refuse(_EMPTY)
            return ()
        return tuple(self._answer(row, each) for each in (given if isinstance(given, list) else [given]))

    def _answer(self, row: Row, given: Any) -> str:
        if not isinstance(given, (str, int, float)) or (isinstance(given, float) and not math.isfinite(given)):
            row.refuse(f"the answer must be a text, a number or a list of these, not {json.dumps(given)}")
        text = str(given).rpartition(_GSM8K_MARK)[2].strip()
        if not text:
            row.refuse(_EMPTY)
        row.require_whole(text, "the answer")
        return text

    def _column(self, row: Row, names: Sequence[str], *, what: str) -> Any:
        found = next((name for name in names if name in row.data), None)
        if found is None:
            has = f"only {', '.join(map(repr, row.data))}" if row.data else "and no other"
            remedy = f"rename one, or name it with --{what}-field of eval compare"
            row.refuse(f"no {what}: it has none of the keys {', '.join(names)}, {has}; {remedy}")
        return row.data[found]
