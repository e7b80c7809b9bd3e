"""What is common to the harnesses: questions with settings in, answers in the harness's own form out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_moa.data.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path

    from langchain_moa.data.rows import Row


@dataclass(frozen=True, kw_only=True)
class BenchmarkQuestion:
    """One question of a benchmark.

    Attributes:
        row: Where it is from.
        id: What the harness knows it by.
        turns: What the user says, one turn after the other.
        temperature: Of every call.
        max_tokens: The longest answer of every call.
    """

    row: Row
    id: Hashable
    turns: tuple[str, ...]
    temperature: float
    max_tokens: int

    @cached_property
    def key(self) -> str:
        """What tells it from all others; another text or other settings make it another question."""
        said = json.dumps([self.id, self.turns, self.temperature, self.max_tokens], default=str)
        return hashlib.sha256(said.encode()).hexdigest()[:22]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question and what was answered.

    Attributes:
        question: The question.
        texts: The final answers, one for each turn.
        model: What the mixture is called on the leaderboard.
        time: When the last answer was there, in seconds since 1970.
    """

    question: BenchmarkQuestion
    texts: tuple[str, ...]
    model: str
    time: float


class Harness(ABC):
    """A benchmark's official tool.

    Attributes:
        name: The benchmark.
        title: The tool.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def questions(self, path: str | Path, *, limit: int | None = None) -> list[BenchmarkQuestion]:
        """Read a question file.

        Args:
            path: The file.
            limit: How many questions, from the first. Default: all.

        Raises:
            RowError: It cannot be read, a row is not what it should be, or two rows ask something else by the same id.
        """
        questions = [self.question(row) for row in read_rows(path)[:limit]]
        known: dict[Hashable, BenchmarkQuestion] = {}
        for question in questions:
            before = known.setdefault(question.id, question)
            if before.key != question.key:
                question.row.refuse(f"line {before.row.line} has the same id, {question.id!r}, and asks something else")
        return questions

    @abstractmethod
    def question(self, row: Row) -> BenchmarkQuestion:
        """Read a row of the question file.

        Args:
            row: The row.

        Raises:
            RowError: Something is missing.
        """

    @abstractmethod
    def answer(self, answered: Answered) -> dict[str, Any]:
        """Return a row of the answer file.

        Args:
            answered: The question and its answer.
        """

    def document(self, rows: Iterable[dict[str, Any]]) -> str:
        """Return the answer file's text: one JSON object a line.

        Args:
            rows: The answers.
        """
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class HarnessWithReferences(Harness):
    """A benchmark whose answers can be made from references of another run, in place of the proposers'."""

    @abstractmethod
    def reference(self, row: Row) -> tuple[Hashable, str]:
        """Read a row of an answer file, by whomever: the question's id and the answer.

        Args:
            row: The row.

        Raises:
            RowError: Something is missing.
        """
