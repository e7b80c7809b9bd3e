"""Tools and structured output, bound in the aggregator's own format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding, RunnableParallel, RunnableSequence
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable

    from langchain_moa.chat_model.chat_model import ChatMoA

MARK = "moa_aggregator_only"
"""The keyword argument of a binding that lists the keyword arguments for the aggregator only."""

AGGREGATOR_ONLY = frozenset(
    {"model", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "format"}
)
"""Keyword arguments of a call that go to the aggregator only, even if they are not marked by a binding."""


def rebound(moa: ChatMoA, bind: Callable[[Any], Runnable[Any, Any]], *, parses: bool = False) -> Runnable[Any, Any]:
    """Bind tools or a schema to the aggregator, and return the result with the mixture in place of the aggregator.

    Each provider has its own formats and parsers for tools and schemas, which are kept this way. The compiled graph is shared
    by all bindings.

    Args:
        moa: The mixture.
        bind: Calls `bind_tools` or `with_structured_output` of the given model.
        parses: Whether the result parses the answer.

    Raises:
        ValueError: `parses` is set, and the parser cannot be separated from the aggregator.
    """
    member = moa.members.aggregator
    runnable: Any = member.runnable
    if isinstance(runnable, RunnableWithFallbacks):
        # The other models become fallbacks of the aggregator, which are sent the arguments in their own formats.
        apart = replace(member.spec, model=runnable.runnable, fallbacks=[*runnable.fallbacks, *member.spec.fallbacks])
        return rebound(moa.model_copy(update={"aggregator": apart}), bind, parses=parses)
    while isinstance(runnable, RunnableRetry):
        runnable = runnable.bound
    made = bind(runnable)
    if (bound := _transplanted(made, moa)) is not None:
        return bound
    if parses:
        msg = f"the aggregator is a {type(runnable).__name__}, which cannot be given a schema here; give a chat model"
        raise ValueError(msg)
    # The result has another structure (such as a model that is made at call time), so it becomes the aggregator.
    return moa.model_copy(update={"aggregator": replace(member.spec, model=made)})


def _transplanted(runnable: Any, moa: ChatMoA) -> Runnable[Any, Any] | None:
    """Replace the bound chat model in a Runnable by the mixture; return `None` if there is no such model."""
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
