"""The conversation of a chat: of earlier turns, the question and the final answer and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage


@dataclass
class Conversation:
    """What the mixture is sent with the next question. A question that got no answer is not part of it.

    Attributes:
        system: The system message, if there is one.
        turns: The questions and their answers.
    """

    system: str | None = None
    turns: list[tuple[str, str]] = field(default_factory=list)

    def asked(self, question: str) -> list[BaseMessage]:
        """Return the messages that ask a question, with all that was said before."""
        from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

        kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
        return [*(kinds[role](text) for role, text in self._said()), HumanMessage(question)]

    def to_markdown(self, title: str) -> str:
        """Return it for a reader.

        Args:
            title: The heading.
        """
        names = {"system": "System", "user": "You", "assistant": "Mixture"}
        parts = [f"# {title}", *(f"## {names[role]}\n\n{text.strip()}" for role, text in self._said())]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """Return it for a program: a list of messages, as chat models take them."""
        messages = [{"role": role, "content": text} for role, text in self._said()]
        return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"

    def _said(self) -> Iterator[tuple[str, str]]:
        if self.system:
            yield "system", self.system
        for question, answer in self.turns:
            yield "user", question
            yield "assistant", answer
