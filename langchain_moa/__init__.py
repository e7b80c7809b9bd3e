"""Mixture-of-Agents for LangChain and LangGraph (Wang et al., arXiv 2406.04692)."""

from langchain_moa.chat_model import ChatMoA
from langchain_moa.choose import Choice
from langchain_moa.closed_layer import ClosedLayer
from langchain_moa.config import presets
from langchain_moa.errors import AggregatorFailedError, MoAError, ProposersFailedError, StrategyFailedError
from langchain_moa.graph import create_moa
from langchain_moa.mixture import Mixture
from langchain_moa.proposer import Proposer
from langchain_moa.reference import Failure, Reference
from langchain_moa.retry import Retry
from langchain_moa.role import awrite_roles, roles, write_roles
from langchain_moa.state import MoAContext, MoAState
from langchain_moa.step import Step

__all__ = [
    "AggregatorFailedError",
    "ChatMoA",
    "Choice",
    "ClosedLayer",
    "Failure",
    "Mixture",
    "MoAContext",
    "MoAError",
    "MoAState",
    "Proposer",
    "ProposersFailedError",
    "Reference",
    "Retry",
    "Step",
    "StrategyFailedError",
    "awrite_roles",
    "create_moa",
    "presets",
    "roles",
    "write_roles",
]
