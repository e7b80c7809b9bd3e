"""Tracing: tells handlers which member a call belongs to, and ends the traces of calls that exceed their time limit."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, BaseCallbackManager

from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.limits.deadline import Limit, call_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

T = TypeVar("T")


class RunWatcher(BaseCallbackHandler):
    """A callback handler that is also told which member of which mixture a call belongs to.

    A model's run alone does not show its member, or which runs are attempts of the same call. A `ChatMoA` passes its watchers
    on to the inner run.
    """

    @abstractmethod
    def watch_mixture(self, config: RunnableConfig, mixture: Mixture) -> None:
        """Called when a node starts, with the mixture of the node.

        Args:
            config: The node's config.
            mixture: The mixture.
        """

    @abstractmethod
    def watch_call(self, config: RunnableConfig, name: str, member: Member) -> BaseCallbackHandler:
        """Called before a node calls a member.

        Args:
            config: The node's config.
            name: The name of the call in traces.
            member: The member to call.

        Returns:
            A handler for this call only. The runs that it sees below the node's run are the attempts.
        """


def watchers_of(config: RunnableConfig | None) -> list[RunWatcher]:
    """Return the `RunWatcher`s among the handlers of a config."""
    return [handler for handler in handlers_of((config or {}).get("callbacks")) if isinstance(handler, RunWatcher)]


def introduce(config: RunnableConfig | None, mixture: Mixture) -> None:
    """Tell the watchers of a run which mixture its node belongs to."""
    if config is not None:
        for watcher in watchers_of(config):
            watcher.watch_mixture(config, mixture)


def called(config: RunnableConfig | None, name: str, member: Member) -> RunnableConfig:
    """Return the config of a call, with its name in traces and the handlers of the run's watchers.

    Args:
        config: The node's config.
        name: The name of the call.
        member: The member to call.
    """
    named: RunnableConfig = {**(config or {}), "run_name": name}
    for watcher in watchers_of(config):
        named["callbacks"] = _with_handler(watcher.watch_call(named, name, member), named.get("callbacks"))
    return named


class OpenRuns(BaseCallbackHandler):
    """Tracks the model runs that have started and not ended.

    LangChain does not tell handlers that a model's run was cancelled, so a tracer would show it as running forever.
    """

    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    def __init__(self) -> None:
        """Start without open runs."""
        self._runs: dict[UUID, UUID | None] = {}

    def on_chat_model_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Record the start of a chat model's run."""
        self._runs[run_id] = parent_run_id

    def on_llm_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Record the start of the run of a model that is not a chat model."""
        self._runs[run_id] = parent_run_id

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove a run that has ended."""
        self._runs.pop(run_id, None)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove a run that has failed."""
        self._runs.pop(run_id, None)

    async def aend(self, callbacks: Any, error: Exception) -> None:
        """Report the open runs to the handlers as failed.

        Args:
            callbacks: The callbacks of the call's config.
            error: The error to report.
        """
        handlers = handlers_of(callbacks)
        while self._runs:
            run_id, parent = self._runs.popitem()
            run = AsyncCallbackManagerForLLMRun(run_id=run_id, handlers=handlers, inheritable_handlers=[], parent_run_id=parent)
            await run.on_llm_error(error)


async def call_traced(limit: Limit | None, config: RunnableConfig, call: Callable[[RunnableConfig], Awaitable[T]]) -> T:
    """Make a call within a time limit. If it times out, its open runs are ended in traces.

    Args:
        limit: Time limit of the call, or `None`.
        config: The config of the call.
        call: Makes the call with a config.

    Raises:
        OutOfTimeError: The call exceeded its limit.
    """
    if limit is None:
        return await call(config)
    callbacks = config.get("callbacks")
    if not handlers_of(callbacks):
        return await call_within(limit, lambda: call(config))
    unfinished = OpenRuns()
    watched: RunnableConfig = {**config, "callbacks": _with_handler(unfinished, callbacks)}
    try:
        return await call_within(limit, lambda: call(watched))
    except OutOfTimeError as error:
        await unfinished.aend(callbacks, error)
        raise


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """Return the handlers in the `callbacks` of a config."""
    return list(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ())


def _with_handler(handler: BaseCallbackHandler, callbacks: Any) -> Any:
    """Return a copy of a config's callbacks with one more handler."""
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.add_handler(handler)
        return manager
    return [handler, *(callbacks or ())]
