"""The official harnesses: what each one asks, with which settings, and in which form it reads the answers."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from langchain_moa.data.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
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

    def again(self, row: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # of one harness only
        """Return a row of the answer file with what the harness's own scripts have added to the same row of the file before.

        Args:
            row: The row.
            before: The row for the same question in the file that is written again.
        """
        return row

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


# The question file may be the baseline's `model_outputs.json`.
_ANSWER = {"output", "generator"}


class AlpacaEval(HarnessWithReferences):
    """The paper's settings: temperature 0.7, 2,048 tokens."""

    name = "alpaca_eval"
    title = "AlpacaEval"

    @override
    def question(self, row: Row) -> BenchmarkQuestion:
        instruction = row.text("instruction")
        return BenchmarkQuestion(row=row, id=instruction, turns=(instruction,), temperature=0.7, max_tokens=2048)

    @override
    def answer(self, answered: Answered) -> dict[str, Any]:
        asked = {name: value for name, value in answered.question.row.data.items() if name not in _ANSWER}
        return {**asked, "output": answered.texts[0], "generator": answered.model}

    @override
    def reference(self, row: Row) -> tuple[Hashable, str]:
        return row.text("instruction"), row.get("output", str)

    @override
    def document(self, rows: Iterable[dict[str, Any]]) -> str:
        return json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"


class ArenaHard(HarnessWithReferences):
    """The paper's settings: temperature 0.7, 2,048 tokens; the harness's own would be 0 and 4,096.

    The `metadata` that style control reads counts GPT-4o's tokens, which takes its vocabulary: the harness's own script
    `utils/add_markdown_info.py` adds it to any answer file. A file that is written again keeps it where the answer is the same.
    """

    name = "arena_hard"
    title = "Arena-Hard-Auto"

    @override
    def question(self, row: Row) -> BenchmarkQuestion:
        return BenchmarkQuestion(row=row, id=row.text("uid"), turns=(row.text("prompt"),), temperature=0.7, max_tokens=2048)

    @override
    def answer(self, answered: Answered) -> dict[str, Any]:
        question = answered.question
        return {
            "uid": question.id,
            "ans_id": question.key,
            "model": answered.model,
            "messages": [
                {"role": "user", "content": question.turns[0]},
                {"role": "assistant", "content": {"answer": answered.texts[0]}},
            ],
            "tstamp": answered.time,
        }

    @override
    def again(self, row: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        if before.get("messages") == row["messages"] and "metadata" in before:
            return {**row, "metadata": before["metadata"]}
        return row

    @override
    def reference(self, row: Row) -> tuple[Hashable, str]:
        messages = row.get("messages", list)
        content = messages[-1].get("content") if messages and isinstance(messages[-1], dict) else None
        answer = content.get("answer") if isinstance(content, dict) else None
        if not isinstance(answer, str):
            row.refuse("the field 'messages' must end with a message whose content has an 'answer'")
        return row.text("uid"), answer


class Flask(HarnessWithReferences):
    """The paper's settings: temperature 0.7, 2,048 tokens."""

    name = "flask"
    title = "FLASK"

    @override
    def question(self, row: Row) -> BenchmarkQuestion:
        # FLASK's first question files had other names for the same two fields.
        number, text = ("question_id", "text") if "idx" not in row.data and "text" in row.data else ("idx", "instruction")
        return BenchmarkQuestion(row=row, id=row.get(number, int), turns=(row.text(text),), temperature=0.7, max_tokens=2048)

    @override
    def answer(self, answered: Answered) -> dict[str, Any]:
        return {"question_id": answered.question.id, "text": answered.texts[0], "model_id": answered.model}

    @override
    def reference(self, row: Row) -> tuple[Hashable, str]:
        return row.get("question_id", int), row.get("text", str)


# FastChat's `temperature_config`; what is not in it has 0.7.
_TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}


class MTBench(Harness):
    """The paper's settings: FastChat's temperature by category, 1,024 tokens, all layers in every turn.

    References cannot be given beforehand: those of the second turn depend on the answer to the first.
    """

    name = "mt_bench"
    title = "FastChat"

    @override
    def question(self, row: Row) -> BenchmarkQuestion:
        turns = row.get("turns", list)
        if not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
            row.refuse("the field 'turns' must be a list of at least one text")
        for turn in turns:
            row.require_whole(turn, "the field 'turns'")
        temperature = row.data.get("required_temperature", _TEMPERATURES.get(row.text("category"), 0.7))
        if not isinstance(temperature, int | float) or isinstance(temperature, bool):
            row.refuse("the field 'required_temperature' must be a number")
        number = row.get("question_id", int)
        return BenchmarkQuestion(row=row, id=number, turns=tuple(turns), temperature=float(temperature), max_tokens=1024)

    @override
    def answer(self, answered: Answered) -> dict[str, Any]:
        return {
            "question_id": answered.question.id,
            "answer_id": answered.question.key,
            "model_id": answered.model,
            "choices": [{"index": 0, "turns": list(answered.texts)}],
            "tstamp": answered.time,
        }


HARNESSES: Mapping[str, Harness] = {harness.name: harness for harness in (AlpacaEval(), MTBench(), ArenaHard(), Flask())}
"""The harnesses by name."""

__all__ = ["HARNESSES", "AlpacaEval", "ArenaHard", "Flask", "MTBench"]
