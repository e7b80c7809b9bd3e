"""Tracing: tells handlers which member a call belongs to, and ends the traces of abandoned calls."""

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
    """A handler that sees more of a mixture than the runs of models in it: which call is whose.

    Nothing in a model's run says which member of which mixture was asked, or which runs are attempts at the same call; the
    nodes know. A `ChatMoA` hands its watchers on to the run inside.
    """

    @abstractmethod
    def watch_mixture(self, config: RunnableConfig, mixture: Mixture) -> None:
        """Called with the mixture that a node belongs to.

        Args:
            config: The node's config.
            mixture: The mixture.
        """

    @abstractmethod
    def watch_call(self, config: RunnableConfig, name: str, member: Member) -> BaseCallbackHandler:
        """Called before a node calls a member.

        Args:
            config: The node's config.
            name: What the call is named in traces.
            member: Who is called.

        Returns:
            A handler for this call alone; the runs that it sees below the node's are the attempts.
        """


def watchers_of(config: RunnableConfig | None) -> list[RunWatcher]:
    """Return the watchers of the run that a node's config belongs to."""
    return [handler for handler in handlers_of((config or {}).get("callbacks")) if isinstance(handler, RunWatcher)]


def introduce(config: RunnableConfig | None, mixture: Mixture) -> None:
    """Tell the handlers that record a run which mixture it belongs to."""
    if config is not None:
        for watcher in watchers_of(config):
            watcher.watch_mixture(config, mixture)


def called(config: RunnableConfig | None, name: str, member: Member) -> RunnableConfig:
    """Return the config for a call, named for traces.

    Args:
        config: The node's config.
        name: The name.
        member: Who is called, so that watchers know.
    """
    named: RunnableConfig = {**(config or {}), "run_name": name}
    for watcher in watchers_of(config):
        named["callbacks"] = _with_handler(watcher.watch_call(named, name, member), named.get("callbacks"))
    return named


class OpenRuns(BaseCallbackHandler):
    """Keeps the runs of models that have started and not ended.

    LangChain tells no handler of a model's run that is cancelled: a tracer would show it as running for ever.
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
        """Record the start of a chat model's run."""
        self._runs[run_id] = parent_run_id

    def on_llm_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Record the start of another model's run."""
        self._runs[run_id] = parent_run_id

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove a run that has ended."""
        self._runs.pop(run_id, None)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove a run that has failed."""
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


async def call_traced(limit: Limit | None, config: RunnableConfig, call: Callable[[RunnableConfig], Awaitable[T]]) -> T:
    """Call within a limit, and end the call in traces if it times out.

    Args:
        limit: Until when; `None`: as long as it takes.
        config: The call's config.
        call: What to do with it.

    Raises:
        OutOfTimeError: The time was over before the call was.
    """
    if limit is None:
        return await call(config)
    callbacks = config.get("callbacks")
    if not handlers_of(callbacks):
        # No handler traces.
        return await call_within(limit, lambda: call(config))
    unfinished = OpenRuns()
    watched: RunnableConfig = {**config, "callbacks": _with_handler(unfinished, callbacks)}
    try:
        return await call_within(limit, lambda: call(watched))
    except OutOfTimeError as error:
        await unfinished.aend(callbacks, error)
        raise


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """Return the handlers of a config's callbacks."""
    return list(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ())


def _with_handler(handler: BaseCallbackHandler, callbacks: Any) -> Any:
    """Return a config's callbacks and one handler more; the config's own are not changed."""
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.add_handler(handler)
        return manager
    return [handler, *(callbacks or ())]
