"""Mixture-of-Agents for LangChain and LangGraph (Wang et al., arXiv 2406.04692)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.chat_model.chat_model import ChatMoA
    from langchain_moa.closed_layer import ClosedLayer
    from langchain_moa.errors import AggregatorFailedError, MoAError, ProposersFailedError, StrategyFailedError
    from langchain_moa.graph.graph import create_moa
    from langchain_moa.graph.projection import ReferencesTransformer
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.config import presets
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.nodes.choose import Choice
    from langchain_moa.reference import Failure, Reference
    from langchain_moa.resilience.retry import Retry
    from langchain_moa.role import awrite_roles, roles, write_roles
    from langchain_moa.runs.recorder import record_moa
    from langchain_moa.runs.run import MoARun
    from langchain_moa.state import MoAContext, MoAState
    from langchain_moa.step import Step

# Where each name is at home. They are imported when they are asked for, so that the command line, which imports this
# package too, is there before LangChain is.
_HOMES = {
    "AggregatorFailedError": "errors",
    "ChatMoA": "chat_model.chat_model",
    "Choice": "nodes.choose",
    "ClosedLayer": "closed_layer",
    "Failure": "reference",
    "Mixture": "mixture.mixture",
    "MoAContext": "state",
    "MoAError": "errors",
    "MoARun": "runs.run",
    "MoAState": "state",
    "Proposer": "members.proposer",
    "ProposersFailedError": "errors",
    "Reference": "reference",
    "ReferencesTransformer": "graph.projection",
    "Retry": "resilience.retry",
    "Step": "step",
    "StrategyFailedError": "errors",
    "awrite_roles": "role",
    "create_moa": "graph.graph",
    "presets": "mixture.config",
    "record_moa": "runs.recorder",
    "roles": "role",
    "write_roles": "role",
}

__all__ = [
    "AggregatorFailedError",
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
