"""The terminal while an answer is written."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def unechoed() -> Iterator[None]:
    """Have the terminal keep what is typed until somebody reads it, where it would show it in the middle of an answer.

    Ctrl-C still sends its signal.
    """
    try:
        import termios
    except ImportError:  # Windows, whose consoles show only what a program reads
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = termios.tcgetattr(descriptor)
    # Without NOFLSH, Ctrl-C would throw away what was typed before it.
    silent[3] = silent[3] & ~(termios.ECHO | termios.ICANON) | termios.NOFLSH
    termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
