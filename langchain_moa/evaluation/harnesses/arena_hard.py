"""Arena-Hard-Auto (lmarena/arena-hard-auto): 500 prompts in v0.1, 750 in v2.0; it reads one answer a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from langchain_moa.evaluation.harnesses.harness import Answered, BenchmarkQuestion, HarnessWithReferences

if TYPE_CHECKING:
    from collections.abc import Hashable

    from langchain_moa.data.rows import Row


class ArenaHard(HarnessWithReferences):
    """The paper's settings: temperature 0.7, 2,048 tokens; the harness's own would be 0 and 4,096.

    The `metadata` that style control reads counts GPT-4o's tokens, which takes its vocabulary: the harness's own script
    `utils/add_markdown_info.py` adds it to any answer file.
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
    def reference(self, row: Row) -> tuple[Hashable, str]:
        messages = row.get("messages", list)
        content = messages[-1].get("content") if messages and isinstance(messages[-1], dict) else None
        answer = content.get("answer") if isinstance(content, dict) else None
        if not isinstance(answer, str):
            row.refuse("the field 'messages' has to end with a message whose content has an 'answer'")
        return row.text("uid"), answer
