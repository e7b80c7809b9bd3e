"""Checks of answers, by the name of their file as a mixture's configuration has them."""

from __future__ import annotations


def by_the_aggregator(text: str, question: str) -> bool | str:
    """Pass what the aggregator has written: all references fail, so which calls are made does not depend on who is first."""
    assert question == "What is 6 times 7?"
    return text.startswith("agg") or "no reference passes"
