"""The questions of an evaluation: a JSONL file, or GSM8K."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage

from langchain_moa.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.messages import BaseMessage

_QUESTION = ("question", "input", "prompt", "instruction")
_ANSWER = ("answer", "target")

# GSM8K's answers are a derivation, and behind this sign the number.
_GSM8K_MARK = "####"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        id: What it is called: its `id`, or the number of its line.
        text: What is asked.
        answers: The right answers, any of which will do; empty where it has none.
        system: The system message, if there is one.
        line: Its line in the file, from 1.
        fields: The whole line, for scorers in Python.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    system: str | None = None
    line: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def messages(self) -> list[BaseMessage]:
        """The conversation that asks it."""
        return [*([SystemMessage(self.system)] if self.system else []), HumanMessage(self.text)]


def read_questions(
    path: str | Path,
    *,
    question_field: str | None = None,
    answer_field: str | None = None,
    needs_answers: bool = True,
    limit: int | None = None,
) -> list[Question]:
    """Read questions from a JSONL file, an object on each line.

    Args:
        path: The file.
        question_field: The key of the question. Default: `question`, `input`, `prompt` or `instruction`.
        answer_field: The key of the right answer, or of a list of right answers. Default: `answer` or `target`.
        needs_answers: Whether a question without an answer is an error.
        limit: How many questions, from the first. Default: all.

    Raises:
        EvaluationError: The file cannot be read, or one of its lines cannot be used; the text names file and line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or str(error)
        msg = f"{path}: {reason}; give a JSONL file, or gsm8k"
        raise EvaluationError(msg) from error
    reader = _Reader(
        source=str(path),
        question=(question_field,) if question_field else _QUESTION,
        answer=(answer_field,) if answer_field else _ANSWER,
        needs_answers=needs_answers,
    )
    return reader.read(_objects(lines, source=str(path)), limit=limit)


def gsm8k(*, limit: int | None = None) -> list[Question]:
    """Return the 1,319 test questions of GSM8K, from the Hugging Face hub or from its cache on this machine.

    Args:
        limit: How many questions, from the first. Default: all.

    Raises:
        EvaluationError: The package `datasets` is missing, or the hub cannot be reached.
    """
    remedy = "download test.jsonl from github.com/openai/grade-school-math and give --task test.jsonl"
    try:
        from datasets import load_dataset
    except ImportError as error:
        msg = f"gsm8k: fetching it takes a package: pip install datasets; or {remedy}"
        raise EvaluationError(msg) from error
    try:
        rows: Iterable[Any] = load_dataset("openai/gsm8k", "main", split="test")
    except Exception as error:  # the hub's client raises what its HTTP client does
        msg = f"gsm8k: it could not be fetched from the Hugging Face hub ({type(error).__name__}); {remedy}"
        raise EvaluationError(msg) from error
    reader = _Reader(source="gsm8k", question=("question",), answer=("answer",), needs_answers=True)
    return reader.read(enumerate(rows, start=1), limit=limit)


@dataclass(frozen=True, kw_only=True)
class _Reader:
    source: str
    question: Sequence[str]
    answer: Sequence[str]
    needs_answers: bool

    def read(self, rows: Iterable[tuple[int, Any]], *, limit: int | None) -> list[Question]:
        """Read the rows, each beside its line."""
        questions: list[Question] = []
        lines: dict[str, int] = {}
        for line, row in rows:
            if limit is not None and len(questions) >= limit:
                break
            question = self._question(line, row)
            if (before := lines.setdefault(question.id, line)) != line:
                self._refuse(line, f"the id {question.id!r} stands in line {before}, too; each question needs its own")
            questions.append(question)
        if not questions:
            msg = f"{self.source}: there are no questions in it"
            raise EvaluationError(msg)
        return questions

    def _question(self, line: int, row: Any) -> Question:
        if not isinstance(row, dict):
            self._refuse(line, f'give an object like {{"question": "...", "answer": "..."}}, not {type(row).__name__}')
        text = self._column(line, row, self.question, what="question")
        if not isinstance(text, str) or not text.strip():
            self._refuse(line, "the question is no text, or an empty one")
        system = row.get("system")
        if system is not None and not isinstance(system, str):
            self._refuse(line, f"system must be a text, not {type(system).__name__}")
        answers = self._answers(line, row)
        return Question(id=str(row.get("id", line)), text=text, answers=answers, system=system, line=line, fields=row)

    def _answers(self, line: int, row: Mapping[str, Any]) -> tuple[str, ...]:
        if not self.needs_answers and not any(name in row for name in self.answer):
            return ()
        given = self._column(line, row, self.answer, what="answer")
        answers = [str(each).rpartition(_GSM8K_MARK)[2].strip() for each in (given if isinstance(given, list) else [given])]
        if self.needs_answers and (given is None or not answers or not all(answers)):
            self._refuse(line, "the answer is empty; only the scorer judge, or one in Python, can do without")
        return tuple(answers)

    def _column(self, line: int, row: Mapping[str, Any], names: Sequence[str], *, what: str) -> Any:
        for name in names:
            if name in row:
                return row[name]
        has = ", ".join(map(repr, row)) or "no key at all"
        self._refuse(line, f"no {what}: none of {', '.join(names)} is there, but {has}; name its key by --{what}-field")
        return None

    def _refuse(self, line: int, reason: str) -> None:
        msg = f"{self.source}, line {line}: {reason}"
        raise EvaluationError(msg)


def _objects(lines: Sequence[str], *, source: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            msg = f"{source}, line {number}: no JSON ({error.msg} at column {error.colno}); a JSONL file has an object a line"
            raise EvaluationError(msg) from error
