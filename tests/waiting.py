"""How long tests wait: long enough for a machine that is busy with other work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which what a test waits for counts as never coming. A test that passes does not use them up."""

_BETWEEN_LOOKS = 0.02


def until(ready: Callable[[], T], what: Callable[[], str] | str) -> T:
    """Look again and again until something is there, where no event tells of it.

    Args:
        ready: Returns what is there; anything false means not yet.
        what: What is waited for, for the error message.

    Raises:
        TimeoutError: It has not come within `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while not (found := ready()):
        if time.monotonic() > end:
            msg = f"waited {PATIENCE:g} s for {what if isinstance(what, str) else what()}"
            raise TimeoutError(msg)
        time.sleep(_BETWEEN_LOOKS)
    return found
