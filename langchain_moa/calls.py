"""What every node needs around a call: the run's context, its name in traces, and events on the custom stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.runtime import get_runtime

from langchain_moa.state import MoAContext

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def context_of() -> MoAContext:
    """Return the run's context; the default one inside a graph of the user's, whose context is of another type."""
    context: object = get_runtime().context
    return context if isinstance(context, MoAContext) else MoAContext()


def called(config: RunnableConfig | None, name: str) -> RunnableConfig:
    """Return the config for a member's call, named for traces."""
    return {**(config or {}), "run_name": name}


def emit(event: str, **data: Any) -> None:
    """Write an event to the graph's `custom` stream: a dict whose `moa` key names it."""
    get_runtime().stream_writer({"moa": event, **data})
