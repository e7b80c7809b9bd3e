"""The state of a chat: the conversation, the latest question with its result, and the total cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.run_views import RunView
from langchain_moa.cli.spending import Spending
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_core.messages import BaseMessage
    from rich.console import Console

    from langchain_moa.cli.run_views import RunResult
    from langchain_moa.data.reference import Reference
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.runs import Call, MoARun


@dataclass
class Conversation:
    """The history that is sent with the next question. Questions without an answer are not part of it.

    Attributes:
        system: The system message, or `None`.
        turns: The questions and their answers.
    """

    system: str | None = None
    turns: list[tuple[str, str]] = field(default_factory=list)

    def asked(self, question: str) -> list[BaseMessage]:
        """Return the messages to send for a question, including the history."""
        from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

        kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
        return [*(kinds[role](text) for role, text in self._said()), HumanMessage(question)]

    def to_markdown(self, title: str) -> str:
        """Return the conversation as Markdown.

        Args:
            title: The heading.
        """
        names = {"system": "System", "user": "You", "assistant": "Mixture"}
        parts = [f"# {title}", *(f"## {names[role]}\n\n{text.strip()}" for role, text in self._said())]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """Return the conversation as JSON: a list of messages as chat models take them."""
        messages = [{"role": role, "content": text} for role, text in self._said()]
        return json.dumps(messages, ensure_ascii=False, indent=2) + "\n"

    def _said(self) -> Iterator[tuple[str, str]]:
        if self.system:
            yield "system", self.system
        for question, answer in self.turns:
            yield "user", question
            yield "assistant", answer


@dataclass(eq=False)
class ChatTurn(RunView):
    """A question and its result. It is a view of the run, so that it also has the references of a failed run.

    Attributes:
        question: The question.
        result: The result, or `None` without an answer.
        references: The references so far.
        runs: The recorded runs, after the end.
    """

    question: str
    result: RunResult | None = None
    references: Sequence[Reference] = ()
    runs: list[MoARun] = field(default_factory=list)

    def on_references(self, references: Sequence[Reference]) -> None:
        """Store the references."""
        self.references = references

    @property
    def moa(self) -> Mapping[str, Any]:
        """The calls by layer and proposer: the answer's `response_metadata["moa"]`, or that of the calls before a failure."""
        if self.result is not None:
            return self.result.moa
        if self.runs:
            return _account(self.runs[-1])
        from langchain_moa.data.usage import account

        return account(self.references, None, stopped=None)

    @property
    def seconds(self) -> float:
        """The duration in seconds, or 0 if it is unknown."""
        if self.result is not None:
            return self.result.seconds
        return self.runs[-1].seconds if self.runs else 0.0


@dataclass
class ChatTotals:
    """The totals over all questions, including those without an answer.

    Attributes:
        questions: The number of questions.
        calls: The number of calls, as far as known.
        spending: Their tokens and cost.
    """

    questions: int = 0
    calls: int = 0
    spending: Spending = field(default_factory=Spending)

    def add(self, turn: ChatTurn) -> None:
        """Add the calls of a turn."""
        self.questions += 1
        self.calls += turn.moa["calls"]
        self.spending += Spending.of(turn.moa)

    def __str__(self) -> str:
        """Return the totals as one line."""
        counts = f"{counted(self.questions, 'question')}, {counted(self.calls, 'call')}"
        return " · ".join(part for part in (counts, str(self.spending)) if part)


@dataclass(eq=False)
class Chat:
    """A chat with a mixture.

    Attributes:
        mixture: The mixture.
        console: The console for all output.
        source: A short description of the source of the mixture; may be empty.
        conversation: The conversation.
        turn: The latest turn, or `None` before the first.
        totals: The totals of all turns.
        written: The files that this chat has written, which it may overwrite.
        is_over: Whether the user has ended the chat.
    """

    mixture: Mixture
    console: Console
    source: str = ""
    conversation: Conversation = field(default_factory=Conversation)
    turn: ChatTurn | None = None
    totals: ChatTotals = field(default_factory=ChatTotals)
    written: set[Path] = field(default_factory=set)
    is_over: bool = False


def _account(run: MoARun) -> dict[str, Any]:
    """Return the calls of a recorded run in the form of `response_metadata["moa"]`."""
    others = [call for call in run.calls if call.role != "proposer"]
    # Of the failed calls to aggregators, only the last one is the "aggregator"; earlier ones are listed as steps.
    last = next((call for call in reversed(others) if call.role == "aggregator"), None)
    return {
        "layers": [[_entry(call) for call in layer] for layer in run.layers],
        "steps": [_entry(call) for call in others if call is not last],
        "aggregator": None if last is None else _entry(last),
        "calls": len(run.calls),
    }


def _entry(call: Call) -> dict[str, Any]:
    said = {"seconds": call.seconds or 0.0, "usage": call.usage, "error": call.error, "cost_usd": call.cost_usd}
    place = {"node": call.node, "proposer": call.proposer, "name": call.name, "model": call.model, "status": call.status}
    return {name: value for name, value in {**place, **said}.items() if value is not None}
