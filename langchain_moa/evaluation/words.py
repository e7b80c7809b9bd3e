"""Words for the sentences of a report."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, `1 call` or `2 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
