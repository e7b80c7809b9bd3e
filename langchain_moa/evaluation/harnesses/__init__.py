"""The official harnesses: what each one asks, with which settings, and in which form it reads the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.evaluation.harnesses.alpaca_eval import AlpacaEval
from langchain_moa.evaluation.harnesses.arena_hard import ArenaHard
from langchain_moa.evaluation.harnesses.flask import Flask
from langchain_moa.evaluation.harnesses.mt_bench import MTBench

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_moa.evaluation.harnesses.harness import Harness

HARNESSES: Mapping[str, Harness] = {harness.name: harness for harness in (AlpacaEval(), MTBench(), ArenaHard(), Flask())}
"""The harnesses by name."""

__all__ = ["HARNESSES", "AlpacaEval", "ArenaHard", "Flask", "MTBench"]
