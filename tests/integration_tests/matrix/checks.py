"""Checks of answers, which a mixture's configuration names by their file."""

from __future__ import annotations


def by_the_aggregator(text: str, question: str) -> bool | str:
    """Pass only the aggregator's text: all references fail, so the calls do not depend on which reference is first."""
    assert question == "What is 6 times 7?"
    return text.startswith("agg") or "no reference passes"
