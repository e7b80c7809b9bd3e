"""Quorum and deadline of layers: the rules by which a layer closes before all of its proposers have answered."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_moa.limits.deadline import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def quorum_of(quorum: int | float | None, size: int) -> int | None:  # noqa: PYI041  # 1 is one proposer, 1.0 is all of them
    """Return the number of good answers that a mixture's `quorum` requires of a layer.

    Args:
        quorum: A number of proposers (int), or a share of them (float, more than 0 and at most 1), which is rounded up. `None`
            for no quorum.
        size: The number of proposers in the layer.

    Raises:
        ValueError: The number or share is out of range.
    """
    if quorum is None:
        return None
    if isinstance(quorum, float):
        if not 0 < quorum <= 1:
            msg = f"quorum is {quorum}; give a number of proposers like 3, or a share of them like 0.75"
            raise ValueError(msg)
        # 0.07 * 100 is 7.000000000000001 in floating point.
        return math.ceil(round(quorum * size, 9))
    if not 1 <= quorum <= size:
        msg = f"quorum is {quorum}, but a layer has {size} proposers; give a number from 1 to {size}, or a share like 0.75"
        raise ValueError(msg)
    return quorum


Decides: TypeAlias = "Callable[[Sequence[Any], int], str | None]"
"""Takes the answers so far and the number of open calls. Returns why those calls cannot change the outcome, or `None`."""

DECIDED = "decided"
"""The kind of limit that cancels a call because the outcome is decided without its answer."""


@dataclass(frozen=True, kw_only=True)
class Closing:
    """The rules by which a layer closes.

    Attributes:
        size: The number of proposers in the layer.
        enough: Minimum number of good answers (`min_references`).
        quorum: Number of good answers that close the layer early, or `None`.
        grace: Seconds that the other proposers have after the quorum is reached.
        deadline: Seconds for the whole answer, or `None`.
        layers: The number of layers of the mixture.
        layer: The number of this layer, from 1.
        decides: The rule that closes the layer as soon as its answers decide the outcome, or `None`.
        later: Number of proposers in later layers whose answers count together with those of this layer.
    """

    size: int
    enough: int = 1
    quorum: int | None = None
    grace: float = 0.0
    deadline: float | None = None
    layers: int = 1
    layer: int = 1
    decides: Decides | None = None
    later: int = 0

    @property
    def is_needed(self) -> bool:
        """Whether anything can close the layer early."""
        return self.quorum is not None or self.deadline is not None or self.decides is not None

    def decided(self, answers: Sequence[Any], open_calls: int) -> str | None:
        """Return why the outcome is decided, or `None` if it is not.

        Args:
            answers: The answers so far that count towards the outcome.
            open_calls: The number of proposers of this layer that have not ended.
        """
        return None if self.decides is None else self.decides(answers, open_calls + self.later)


class LayerRound:
    """One layer in one run: tracks its open calls and answers, and closes the layer according to its rules.

    The remaining time of a deadline is shared equally by the remaining layers and the aggregator. A layer closes at the end of
    its share. If it has too few good answers then, it waits for more, but not into the aggregator's share.
    """

    def __init__(self, closing: Closing, started: float, answers: Sequence[Any] = ()) -> None:
        """Open the round.

        Args:
            closing: The rules by which the layer closes.
            started: Start of the run, on the clock of `time.monotonic`.
            answers: Answers of earlier layers that count towards the outcome together with this layer's.
        """
        self._closing = closing
        self._inside: set[Limit] = set()
        self._answers = [*answers]
        self._good = 0
        self._ended = 0
        self._share_over = math.inf  # without a deadline, never
        self._closes = Limit()
        if closing.deadline is not None:
            now = monotonic()
            reserved = closing.deadline / (closing.layers + 1)
            last = started + closing.deadline - reserved
            self._share_over = now + (last - now) / (closing.layers - closing.layer + 1)
            why = f"the layer's share of the deadline ({closing.deadline:g} s) has elapsed"
            self._close(last, "deadline", why)

    @contextmanager
    def joined(self, timeout: float | None) -> Iterator[Limit]:
        """Take part in the round with one call. Yields the call's time limit, which is brought forward if the round closes.

        Args:
            timeout: Timeout of this call in seconds, or `None`.
        """
        limit = Limit(timeout=timeout)
        self._inside.add(limit)
        limit.bring_forward(self._closes.at, self._closes.kind, self._closes.why)
        try:
            yield limit
        finally:
            self._inside.discard(limit)

    def answered(self, answer: Any = None) -> str | None:
        """Count a good answer, which may close the round.

        Args:
            answer: The answer, for the rule that decides the outcome.

        Returns:
            Why the outcome is decided, if this answer decided it while other calls are open; these are cancelled. Otherwise
            `None`.
        """
        rules = self._closing
        self._good += 1
        self._answers.append(answer)
        if self._good >= rules.enough:
            self._close(self._share_over, self._closes.kind, self._closes.why)
        if rules.quorum is not None and self._good >= rules.quorum:
            why = f"quorum ({rules.quorum}/{rules.size}) reached, {rules.grace:g} s grace elapsed"
            self._close(monotonic() + rules.grace, "quorum", why)
        return self._ends()

    def failed(self) -> str | None:
        """Count a proposer that ended without a good answer.

        Returns:
            Why the outcome is decided, or `None`; see `answered`.
        """
        return self._ends()

    def _ends(self) -> str | None:
        rules = self._closing
        self._ended += 1
        open_calls = rules.size - self._ended
        if open_calls <= 0 or self._good < rules.enough or self._closes.kind == DECIDED:
            return None
        why = rules.decided(self._answers, open_calls)
        if why is not None:
            self._close(monotonic(), DECIDED, f"its answer was not needed: {why}")
        return why

    def _close(self, at: float, kind: str, why: str) -> None:
        self._closes.bring_forward(at, kind, why)
        for limit in self._inside:
            limit.bring_forward(at, kind, why)


class Progress:
    """Progress that the nodes of one run share outside of its state: the start of the run and the rounds of its layers.

    All proposers of a run are called on one event loop, so no lock is needed.

    Attributes:
        started: When the first round was opened, on the clock of `time.monotonic`; `None` before that. A resumed run starts
            anew.
    """

    def __init__(self) -> None:
        """Start without rounds."""
        self.started: float | None = None
        self._rounds: dict[str, LayerRound] = {}

    def round(self, name: str, closing: Closing, answers: Sequence[Any] = ()) -> LayerRound:
        """Return the round of a name. The first caller opens it.

        Args:
            name: The name of the round: that of a layer or of a ranking.
            closing: The rules by which it closes.
            answers: Answers of earlier layers that count towards the outcome.
        """
        if self.started is None:
            self.started = monotonic()
        if name not in self._rounds:
            self._rounds[name] = LayerRound(closing, self.started, answers)
        return self._rounds[name]
