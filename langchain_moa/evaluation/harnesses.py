"""The official harnesses of benchmarks: their question files, settings and answer files."""

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
        row: The row of the question file.
        id: The harness's id of the question.
        turns: The user's messages.
        temperature: The temperature of every call.
        max_tokens: The limit of output tokens of every call.
    """

    row: Row
    id: Hashable
    turns: tuple[str, ...]
    temperature: float
    max_tokens: int

    @cached_property
    def key(self) -> str:
        """A hash of the id, the turns and the settings."""
        said = json.dumps([self.id, self.turns, self.temperature, self.max_tokens], default=str)
        return hashlib.sha256(said.encode()).hexdigest()[:22]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question with its answers.

    Attributes:
        question: The question.
        texts: The final answers, one per turn.
        model: The name of the mixture on the leaderboard.
        time: The time of the last answer, in seconds since 1970.
    """

    question: BenchmarkQuestion
    texts: tuple[str, ...]
    model: str
    time: float


class Harness(ABC):
    """The official tool of a benchmark.

    Attributes:
        name: The name of the benchmark.
        title: The name of the tool.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def questions(self, path: str | Path, *, limit: int | None = None) -> list[BenchmarkQuestion]:
        """Read a question file.

        Args:
            path: The file.
            limit: The number of first questions to read. Default: all.

        Raises:
            RowError: The file cannot be read, a row is invalid, or different questions have the same id.
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
        """Convert a row of the question file.

        Args:
            row: The row.

        Raises:
            RowError: The row is invalid.
        """

    @abstractmethod
    def answer(self, answered: Answered) -> dict[str, Any]:
        """Return a row of the answer file.

        Args:
            answered: The question and its answer.
        """

    def again(self, row: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # used by a subclass
        """Return a row of the answer file with the data that scripts of the harness added to its previous version.

        Args:
            row: The row.
            before: The row of the same question in the existing file.
        """
        return row

    def document(self, rows: Iterable[dict[str, Any]]) -> str:
        """Return the content of the answer file: one JSON object per line.

        Args:
            rows: The rows.
        """
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class HarnessWithReferences(Harness):
    """A harness whose answer files can be used as references instead of those of the proposers."""

    @abstractmethod
    def reference(self, row: Row) -> tuple[Hashable, str]:
        """Return the question id and the answer of a row of an answer file.

        Args:
            row: The row.

        Raises:
            RowError: The row is invalid.
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
    """The paper's settings: temperature 0.7, 2,048 tokens; the harness's own are 0 and 4,096.

    Style control reads `metadata`, which the harness's script `utils/add_markdown_info.py` adds to answer files. It counts
    tokens of GPT-4o, which needs its vocabulary. When a file is rewritten, `metadata` of unchanged answers is kept.
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
        # The first question files of FLASK had other names for these two fields.
        number, text = ("question_id", "text") if "idx" not in row.data and "text" in row.data else ("idx", "instruction")
        return BenchmarkQuestion(row=row, id=row.get(number, int), turns=(row.text(text),), temperature=0.7, max_tokens=2048)

    @override
    def answer(self, answered: Answered) -> dict[str, Any]:
        return {"question_id": answered.question.id, "text": answered.texts[0], "model_id": answered.model}

    @override
    def reference(self, row: Row) -> tuple[Hashable, str]:
        return row.get("question_id", int), row.get("text", str)


# FastChat's `temperature_config`; the default is 0.7.
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

    References cannot be given in advance, because those of the second turn depend on the answer to the first.
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
