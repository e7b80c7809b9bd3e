"""Building blocks for your own aggregations, filters and stop conditions.

Most custom strategies are plain functions and need nothing from here. Use this package for strategies that ask models, compare
texts, have settings, or add their own nodes to the graph.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.strategies.aggregation import Aggregation, AnswerGraph, Undecided
    from langchain_moa.strategies.extract import Extract
    from langchain_moa.strategies.inquiry import Ask, Compare, Inquiry
    from langchain_moa.strategies.layer import Filtered
    from langchain_moa.strategies.registry import Model, strategy
    from langchain_moa.strategies.similarity import Similarity

# Imported on first access.
_HOMES = {
    "Aggregation": "strategies.aggregation",
    "AnswerGraph": "strategies.aggregation",
    "Ask": "strategies.inquiry",
    "Compare": "strategies.inquiry",
    "Extract": "strategies.extract",
    "Filtered": "strategies.layer",
    "Inquiry": "strategies.inquiry",
    "Model": "strategies.registry",
    "Similarity": "strategies.similarity",
    "Undecided": "strategies.aggregation",
    "strategy": "strategies.registry",
}

__all__ = [
    "Aggregation",
    "AnswerGraph",
    "Ask",
    "Compare",
    "Extract",
    "Filtered",
    "Inquiry",
    "Model",
    "Similarity",
    "Undecided",
    "strategy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"langchain_moa.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
