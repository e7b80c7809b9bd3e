"""FLASK (kaistAI/FLASK): 1,700 instructions; it reads one answer a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.evaluation.harnesses.harness import Answered, BenchmarkQuestion, HarnessWithReferences

if TYPE_CHECKING:
    from collections.abc import Hashable

    from langchain_moa.data.rows import Row


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
