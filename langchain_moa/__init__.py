"""Mixture-of-Agents for LangChain and LangGraph (Wang et al., arXiv 2406.04692)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.batch.answers import batch_answers
    from langchain_moa.batch.asker import BatchAnswer
    from langchain_moa.chat_model.chat_model import ChatMoA
    from langchain_moa.data.errors import AggregatorFailedError, MoAError, ProposersFailedError, StrategyFailedError
    from langchain_moa.data.reference import Failure, Reference, Step
    from langchain_moa.data.state import MoAContext, MoAState
    from langchain_moa.engine.compiled import ReferencesTransformer
    from langchain_moa.engine.graph import create_moa
    from langchain_moa.limits.retry import Retry
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.config import presets
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.runs.recorder import record_moa
    from langchain_moa.runs.run import MoARun
    from langchain_moa.strategies.aggregation import Choice
    from langchain_moa.strategies.layer import ClosedLayer
    from langchain_moa.strategies.roles import awrite_roles, roles, write_roles

# The module of each public name. Names are imported on first access, so that the command line, which imports this package,
# starts before LangChain is loaded.
_HOMES = {
    "AggregatorFailedError": "data.errors",
    "BatchAnswer": "batch.asker",
    "ChatMoA": "chat_model.chat_model",
    "Choice": "strategies.aggregation",
    "ClosedLayer": "strategies.layer",
    "Failure": "data.reference",
    "Mixture": "mixture.mixture",
    "MoAContext": "data.state",
    "MoAError": "data.errors",
    "MoARun": "runs.run",
    "MoAState": "data.state",
    "Proposer": "members.proposer",
    "ProposersFailedError": "data.errors",
    "Reference": "data.reference",
    "ReferencesTransformer": "engine.compiled",
    "Retry": "limits.retry",
    "Step": "data.reference",
    "StrategyFailedError": "data.errors",
    "awrite_roles": "strategies.roles",
    "batch_answers": "batch.answers",
    "create_moa": "engine.graph",
    "presets": "mixture.config",
    "record_moa": "runs.recorder",
    "roles": "strategies.roles",
    "write_roles": "strategies.roles",
}

__all__ = [
    "AggregatorFailedError",
    "BatchAnswer",
    "ChatMoA",
    "Choice",
    "ClosedLayer",
    "Failure",
    "Mixture",
    "MoAContext",
    "MoAError",
    "MoARun",
    "MoAState",
    "Proposer",
    "ProposersFailedError",
    "Reference",
    "ReferencesTransformer",
    "Retry",
    "Step",
    "StrategyFailedError",
    "awrite_roles",
    "batch_answers",
    "create_moa",
    "presets",
    "record_moa",
    "roles",
    "write_roles",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
