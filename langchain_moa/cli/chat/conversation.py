"""What a chat holds: the conversation, the latest question and what came of it, and what everything has cost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.console import counted
from langchain_moa.cli.run_views import RunView
from langchain_moa.cli.spending import Spending

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
    """What the mixture is sent with the next question; a question without an answer is not part of it.

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


@dataclass(eq=False)
class ChatTurn(RunView):
    """A question that has been asked; as a view of its run it keeps what has been paid for, however the answer ends.

    Attributes:
        question: The question.
        result: The answer; `None` if there is none.
        references: The references so far.
        runs: What the recorder has of it, once it has ended.
    """

    question: str
    result: RunResult | None = None
    references: Sequence[Reference] = ()
    runs: list[MoARun] = field(default_factory=list)

    def on_references(self, references: Sequence[Reference]) -> None:
        """Keep them."""
        self.references = references

    @property
    def moa(self) -> Mapping[str, Any]:
        """The account of its calls: the answer's, or, where there is no answer, that of what was called until then."""
        if self.result is not None:
            return self.result.moa
        if self.runs:
            return _account(self.runs[-1])
        from langchain_moa.data.usage import account

        return account(self.references, None, stopped=None)

    @property
    def seconds(self) -> float:
        """How long it took; 0 if that is not known."""
        if self.result is not None:
            return self.result.seconds
        return self.runs[-1].seconds if self.runs else 0.0


@dataclass
class ChatTotals:
    """The sum over all questions, those without an answer included: their references have been paid for, too.

    Attributes:
        questions: How many were asked.
        calls: How many calls are known to have been made.
        spending: What they have used.
    """

    questions: int = 0
    calls: int = 0
    spending: Spending = field(default_factory=Spending)

    def add(self, turn: ChatTurn) -> None:
        """Add what a turn has used."""
        self.questions += 1
        self.calls += turn.moa["calls"]
        self.spending += Spending.of(turn.moa)

    def __str__(self) -> str:
        """Say it in a line."""
        counts = f"{counted(self.questions, 'question')}, {counted(self.calls, 'call')}"
        return " · ".join(part for part in (counts, str(self.spending)) if part)


@dataclass(eq=False)
class Chat:
    """A chat with a mixture.

    Attributes:
        mixture: The mixture that is asked.
        console: Where everything is shown.
        source: Where the mixture comes from, in a word or two; may be empty.
        conversation: What was said.
        turn: The latest question; `None` before the first.
        totals: What was used.
        written: The files that were written, which may be written again.
        is_over: Whether the user wants to leave.
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
    """Return the account of a recorded run, in the form that answers have."""
    others = [call for call in run.calls if call.role != "proposer"]
    # Who was asked in vain to write the answer stands among the steps, but for the last of them.
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
