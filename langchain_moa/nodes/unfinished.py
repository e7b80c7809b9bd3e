"""Calls that are given up: what traces are told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler

from langchain_moa.cleanser import Cleanser, handlers_of, in_front
from langchain_moa.resilience.abandonment import abandoned_on_error
from langchain_moa.resilience.deadline import Limit, OutOfTimeError, acall_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from langchain_core.runnables import RunnableConfig

T = TypeVar("T")


class Unfinished(BaseCallbackHandler):
    """Knows which runs of models have begun and not ended.

    LangChain tells nobody of a model's run that is cancelled: a tracer would show it as going on for ever, and a tracer that
    serves many answers would keep it for ever.
    """

    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self) -> None:
        """Start with none."""
        self._runs: dict[UUID, UUID | None] = {}

    def on_chat_model_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Take a chat model's run down."""
        self._runs[run_id] = parent_run_id

    def on_llm_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Take another model's run down."""
        self._runs[run_id] = parent_run_id

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Strike a run that has ended."""
        self._runs.pop(run_id, None)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Strike a run that has failed."""
        self._runs.pop(run_id, None)

    async def aend(self, callbacks: Any, error: Exception) -> None:
        """Tell the callbacks that the runs still going have failed.

        Args:
            callbacks: Those of the call's config.
            error: Why.
        """
        handlers = handlers_of(callbacks)
        while self._runs:
            run_id, parent = self._runs.popitem()
            run = AsyncCallbackManagerForLLMRun(run_id=run_id, handlers=handlers, inheritable_handlers=[], parent_run_id=parent)
            await run.on_llm_error(error)


async def acall_traced(limit: Limit | None, config: RunnableConfig, call: Callable[[RunnableConfig], Awaitable[T]]) -> T:
    """Call within a limit, and end the call in traces if it is given up; sync code inside is told to stop.

    Args:
        limit: Until when; `None`: as long as it takes.
        config: The call's config.
        call: What to do with it.

    Raises:
        OutOfTimeError: The time was over before the call was.
    """
    with abandoned_on_error():
        return await (call(config) if limit is None else _acall_traced(limit, config, call))


async def _acall_traced(limit: Limit, config: RunnableConfig, call: Callable[[RunnableConfig], Awaitable[T]]) -> T:
    callbacks = config.get("callbacks")
    if all(isinstance(handler, Cleanser) for handler in handlers_of(callbacks)):
        # Nobody traces.
        return await acall_within(limit, lambda: call(config))
    unfinished = Unfinished()
    watched: RunnableConfig = {**config, "callbacks": in_front(unfinished, callbacks)}
    try:
        return await acall_within(limit, lambda: call(watched))
    except OutOfTimeError as error:
        await unfinished.aend(callbacks, error)
        raise
