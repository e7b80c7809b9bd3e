"""MT-Bench (lm-sys/FastChat, `fastchat.llm_judge`): 80 questions of two turns; it reads one answer a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.evaluation.harnesses.harness import Answered, BenchmarkQuestion, Harness

if TYPE_CHECKING:
    from langchain_moa.data.rows import Row

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
            row.refuse("the field 'turns' has to be a list of texts, at least one")
        for turn in turns:
            row.require_whole(turn, "the field 'turns'")
        temperature = row.data.get("required_temperature", _TEMPERATURES.get(row.text("category"), 0.7))
        if not isinstance(temperature, int | float) or isinstance(temperature, bool):
            row.refuse("the field 'required_temperature' has to be a number")
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
