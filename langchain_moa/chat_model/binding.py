"""Tools and structured output: bound as the aggregator binds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding, RunnableParallel, RunnableSequence

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable

    from langchain_moa.chat_model.chat_model import ChatMoA

MARK = "moa_aggregator_only"
"""The keyword that names which of a binding's other keywords go to the aggregator alone."""

AGGREGATOR_ONLY = frozenset(
    {"model", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "format"}
)
"""Keyword arguments of a call that go to the aggregator alone, even if no binding marks them."""


def rebound(moa: ChatMoA, bind: Callable[[Any], Runnable[Any, Any]]) -> Runnable[Any, Any]:
    """Return what `bind` makes of the aggregator, with the mixture in the aggregator's place.

    Every provider formats tools and schemas in its own way, and parses in its own way. Asking the aggregator and putting
    the mixture where the aggregator stood keeps all of it, and one compiled graph serves every binding.

    Args:
        moa: The mixture.
        bind: Calls `bind_tools` or `with_structured_output` of the model that it is given.
    """
    member = moa.members.aggregator
    bound = _transplanted(bind(member.runnable), moa)
    if bound is not None:
        return bound
    # The aggregator made something else of it (fallbacks, each with its own tools): then that is the aggregator.
    return moa.model_copy(update={"aggregator": bind(member.runnable)})


def _transplanted(runnable: Any, moa: ChatMoA) -> Runnable[Any, Any] | None:
    """Put the mixture where a bound chat model stands; `None` where none is found."""
    if isinstance(runnable, RunnableBinding) and isinstance(runnable.bound, BaseChatModel):
        kwargs = {key: value for key, value in runnable.kwargs.items() if key != "ls_structured_output_format"}
        return runnable.model_copy(update={"bound": moa, "kwargs": {**runnable.kwargs, MARK: sorted(kwargs)}})
    if isinstance(runnable, RunnableSequence):
        first = _transplanted(runnable.first, moa)
        return None if first is None else RunnableSequence(first, *runnable.middle, runnable.last, name=runnable.name)
    if isinstance(runnable, RunnableParallel):
        steps = {name: _transplanted(step, moa) or step for name, step in runnable.steps__.items()}
        return RunnableParallel(steps) if steps != runnable.steps__ else None
    return None
