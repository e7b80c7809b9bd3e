"""One question of a chat, and what has come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.running import Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_moa.cli.running import Outcome
    from langchain_moa.data.reference import Reference
    from langchain_moa.runs import CallRecord, MoARun


@dataclass(eq=False)
class Turn(Watcher):
    """A question that has been asked; as a watcher it keeps what has been paid for, however the answer ends.

    Attributes:
        question: The question.
        outcome: The answer; `None` if there is none.
        references: The references so far.
        runs: What the recorder has of it, once it has ended.
    """

    question: str
    outcome: Outcome | None = None
    references: Sequence[Reference] = ()
    runs: list[MoARun] = field(default_factory=list)

    def on_references(self, references: Sequence[Reference]) -> None:
        """Keep them."""
        self.references = references

    @property
    def moa(self) -> Mapping[str, Any]:
        """The account of its calls: the answer's, or, where there is no answer, that of what was called until then."""
        if self.outcome is not None:
            return self.outcome.moa
        if self.runs:
            return _account(self.runs[-1])
        from langchain_moa.data.usage import account

        return account(self.references, None, stopped=None)

    @property
    def seconds(self) -> float:
        """How long it took; 0 where nobody knows."""
        if self.outcome is not None:
            return self.outcome.seconds
        return self.runs[-1].seconds if self.runs else 0.0


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


def _entry(call: CallRecord) -> dict[str, Any]:
    said = {"seconds": call.seconds or 0.0, "usage": call.usage, "error": call.error, "cost_usd": call.cost_usd}
    place = {"node": call.node, "proposer": call.proposer, "name": call.name, "model": call.model, "status": call.status}
    return {name: value for name, value in {**place, **said}.items() if value is not None}
