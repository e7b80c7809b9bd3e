"""The gate before every call: closed when a run is to end, so that no call begins and those under way still answer."""

from __future__ import annotations

from typing import Literal

from langchain_moa.evaluation.errors import EvaluationError

Reason = Literal["cost", "failures", "signal"]
"""Why a run ends early: the money is not enough, nothing but failures comes, or somebody has asked for it."""


class HaltedError(Exception):
    """A call was to begin after the gate had been closed; whatever it was for has no answer."""


class StoppedError(EvaluationError):
    """A run has ended early; what was answered until then is kept.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Reason, why: str) -> None:
        """Make the error.

        Args:
            reason: Why.
            why: The same in a sentence.
        """
        super().__init__(why)
        self.reason = reason


class Gate:
    """Lets calls begin until it is closed."""

    def __init__(self) -> None:
        self._stopped: StoppedError | None = None

    @property
    def reason(self) -> Reason | None:
        """Why it is closed; `None` while it is open."""
        return None if self._stopped is None else self._stopped.reason

    @property
    def why(self) -> str:
        """The same in a sentence; empty while it is open."""
        return "" if self._stopped is None else str(self._stopped)

    def close(self, reason: Reason, why: str) -> None:
        """Let no further call begin; of several reasons the first one counts.

        Args:
            reason: Why.
            why: The same in a sentence.
        """
        if self._stopped is None:
            self._stopped = StoppedError(reason, why)

    def check(self) -> None:
        """Refuse a call that is about to begin.

        Raises:
            HaltedError: The gate is closed.
        """
        if self._stopped is not None:
            raise HaltedError(str(self._stopped))

    def require_open(self) -> None:
        """Refuse to call a result what has been ended early.

        Raises:
            StoppedError: The gate is closed.
        """
        if self._stopped is not None:
            raise self._stopped
