"""Waiting in tests, long enough for a busy machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 300.0
"""The time in seconds after which a test stops waiting and fails. Passing tests need less."""

_BETWEEN_LOOKS = 0.02


def until(ready: Callable[[], T], what: Callable[[], str] | str) -> T:
    """Poll until a condition holds, if there is no event for it.

    Args:
        ready: Returns a truthy value when the condition holds.
        what: A description of the condition, for the error message.

    Raises:
        TimeoutError: The condition does not hold within `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while not (found := ready()):
        if time.monotonic() > end:
            msg = f"waited {PATIENCE:g} s for {what if isinstance(what, str) else what()}"
            raise TimeoutError(msg)
        time.sleep(_BETWEEN_LOOKS)
    return found
