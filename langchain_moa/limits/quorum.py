"""When a layer closes before all of its proposers have answered; the stragglers are then late."""

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
    """Return how many good answers a mixture's `quorum` asks of a layer.

    Args:
        quorum: A number of proposers (int), or a share of them (float, over 0 and at most 1), rounded up.
        size: How many proposers the layer has.

    Raises:
        ValueError: It is no such number, or more than the layer has.
    """
    if quorum is None:
        return None
    if isinstance(quorum, float):
        if not 0 < quorum <= 1:
            msg = f"quorum is {quorum}; give a number of proposers like 3, or a share of them like 0.75"
            raise ValueError(msg)
        # 0.07 * 100 is a little more than 7.
        return math.ceil(round(quorum * size, 9))
    if not 1 <= quorum <= size:
        msg = f"quorum is {quorum}, but a layer has {size} proposers; give a number from 1 to {size}, or a share like 0.75"
        raise ValueError(msg)
    return quorum


Decides: TypeAlias = "Callable[[Sequence[Any], int], str | None]"
"""From the answers so far, and how many may still come, to the reason why these cannot change the outcome, if they cannot."""

DECIDED = "decided"
"""The kind of the limit of a call that was not waited for because the outcome was decided without it."""


@dataclass(frozen=True, kw_only=True)
class Closing:
    """The rules by which a layer closes.

    Attributes:
        size: How many proposers the layer has.
        enough: How many good answers it needs (`min_references`).
        quorum: How many are enough to close it early, if it may be.
        grace: Seconds that the others then have.
        deadline: Seconds for the whole answer, if they are counted.
        layers: How many layers the mixture has.
        layer: This one's number, from 1.
        decides: The rule that closes the layer as soon as its answers decide the outcome, if there is one.
        later: How many proposers the layers to come have whose answers count together with these.
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
        """Return why the outcome is decided; `None` if it is not.

        Args:
            answers: The answers so far that count.
            open_calls: How many proposers of this layer have not ended.
        """
        return None if self.decides is None else self.decides(answers, open_calls + self.later)


class LayerRound:
    """One layer in one run: who is in it, and when it closes.

    With a deadline, what is left of it is shared equally by the layers to come and the aggregator. A layer closes when its
    share is over, unless it has too few good answers: then it waits for those, but never into the aggregator's share.
    """

    def __init__(self, closing: Closing, started: float, answers: Sequence[Any] = ()) -> None:
        """Open the round.

        Args:
            closing: The rules.
            started: When the answer was begun, on the clock of `time.monotonic`.
            answers: Answers of earlier layers that count for the outcome together with this layer's.
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
        """Be in the round; the limit is brought forward when the round closes earlier.

        Args:
            timeout: Seconds that this proposer has once it is asked, whatever the others do.
        """
        limit = Limit(timeout=timeout)
        self._inside.add(limit)
        limit.bring_forward(self._closes.at, self._closes.kind, self._closes.why)
        try:
            yield limit
        finally:
            self._inside.discard(limit)

    def answered(self, answer: Any = None) -> str | None:
        """Count a good answer; it may close the round.

        Args:
            answer: The answer, for the rule that decides the outcome.

        Returns:
            Why the outcome is decided, if it is and others are still asked; they are cancelled.
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
        """Count a proposer that has no good answer.

        Returns:
            Why the outcome is decided, as for `answered`.
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
    """What the nodes of one run share beside its state: when the answer was begun, and the rounds of its layers.

    All proposers of a run are called on one event loop, so nothing here needs a lock.

    Attributes:
        started: When the first proposer was asked, on the clock of `time.monotonic`; `None` before. A run that is resumed
            begins anew.
    """

    def __init__(self) -> None:
        """Begin a run."""
        self.started: float | None = None
        self._rounds: dict[str, LayerRound] = {}

    def round(self, name: str, closing: Closing, answers: Sequence[Any] = ()) -> LayerRound:
        """Return a round, opened by the first to come.

        Args:
            name: Which one: that of a layer, or of a ranking.
            closing: Its rules.
            answers: Answers of earlier layers that count for the outcome.
        """
        if self.started is None:
            self.started = monotonic()
        if name not in self._rounds:
            self._rounds[name] = LayerRound(closing, self.started, answers)
        return self._rounds[name]
