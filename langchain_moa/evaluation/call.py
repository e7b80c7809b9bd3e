"""A call of an evaluation: who is asked what, for which question, in which run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Failure
    from langchain_moa.evaluation.ledger import Entry


def digest(content: Any) -> str:
    """Return a hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A member's part in a mixture.

    Attributes:
        place: Where it stands, in words: `layer 1, proposer 2`, `aggregator`, ...
        layer: The layer, whose proposers are asked at the same time; `None` for one that is asked by itself.
        model: The model id.
        identity: What of the member bears on its answer, as plain data.
        origin: A hash of that, and of all that answers before it: as long as it stays, so does the call.
    """

    place: str
    layer: int | None
    model: str
    identity: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, kw_only=True)
class FailedCall:
    """A call that has no answer.

    Attributes:
        place: Who was asked.
        layer: The layer, if it is one of its proposers.
        model: The model id.
        failure: Why, without secrets.
    """

    place: str
    layer: int | None
    model: str
    failure: Failure

    @property
    def who(self) -> str:
        """Who was asked, with the model id."""
        return f"{self.place} ({self.model})"

    @property
    def reason(self) -> str:
        """Why there is no answer, in a line."""
        return f"{self.failure['kind']}: {self.failure['message']}"


@dataclass(kw_only=True, eq=False)
class Run:
    """One answer to one question, under way.

    Attributes:
        question: The question's id.
        about: A hash of what is asked.
        epoch: Which time it is asked, from 1.
        entries: The calls that it took, answered now or before.
        made: How many of them were made now.
        failed: The calls that have no answer, by what was asked.
        is_halted: Whether a call was not made because the run is to end.
    """

    question: str
    about: str
    epoch: int = 1
    entries: list[Entry] = field(default_factory=list)
    made: int = 0
    failed: dict[str, FailedCall] = field(default_factory=dict)
    is_halted: bool = False
    _repeats: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, question: str, messages: Sequence[BaseMessage], *, epoch: int = 1) -> Run:
        """Begin a run.

        Args:
            question: The question's id.
            messages: What is asked.
            epoch: Which time, from 1.
        """
        return cls(question=question, about=about(messages), epoch=epoch)

    @contextmanager
    def repeat(self, key: str) -> Iterator[int]:
        """Say which such call of the run this is, from 1; one that fails does not count.

        Args:
            key: What is asked of whom.
        """
        self._repeats[key] += 1
        try:
            yield self._repeats[key]
        except BaseException:
            self._repeats[key] -= 1
            raise


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that is to be made, unless the ledger has its answer.

    Attributes:
        run: What it is for.
        part: Who is asked.
        content: Everything that bears on the answer, as plain data.
        max_tokens: The longest that the answer may be, if there is a limit.
        repeat: Which such call of the run it is, from 1; samples of one prompt are as many calls.
    """

    run: Run
    part: Part
    content: Any
    max_tokens: int | None = None
    repeat: int = 1

    @property
    def key(self) -> str:
        """What is asked of whom, as a hash: whoever asks the same has the same answer."""
        return digest([self.run.epoch, self.part.place, self.part.model, self.content, self.repeat])


def about(messages: Sequence[BaseMessage]) -> str:
    """Return a hash of what is asked."""
    return digest([[message.type, message.content] for message in messages])
