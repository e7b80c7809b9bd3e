"""AlpacaEval (tatsu-lab/alpaca_eval): 805 instructions; it reads `model_outputs.json`, one list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.evaluation.harnesses.harness import Answered, BenchmarkQuestion, HarnessWithReferences

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from langchain_moa.data.rows import Row

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
