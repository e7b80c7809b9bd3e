"""How long failures are borne before a run is given up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.evaluation.gate import Gate

_MOST = 8


class Patience:
    """Closes the gate when somebody fails over and over: a key that has expired will not come back.

    Whoever fails is counted by itself: a mixture does without a member, which would make it another mixture.
    """

    def __init__(self, gate: Gate, *, concurrency: int) -> None:
        """Make it.

        Args:
            gate: What is closed.
            concurrency: How many questions are under way at once, which all may fail for one reason.
        """
        self._gate = gate
        self._most = max(_MOST, concurrency)
        self._failures: Counter[str] = Counter()

    def count(self, who: str, error: str | None) -> None:
        """Count an answer or its lack.

        Args:
            who: Who was asked.
            error: Why there is no answer; `None` if there is one, after which the count begins anew.
        """
        if error is None:
            self._failures[who] = 0
            return
        self._failures[who] += 1
        if self._failures[who] >= self._most:
            self._gate.close(
                "failures", f"{who} failed {self._most} times in a row, and the run was given up; the last: {error}"
            )
