"""HTTP clients for each event loop, and the choice between the async and sync methods of a member."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa._compat import copy_for_loop, has_async_methods
from langchain_moa.limits.concurrency import PerLoop
from langchain_moa.limits.portal import is_on_portal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable

# Runnables that call no model.
_PURE = (BasePromptTemplate, BaseOutputParser, RunnablePassthrough)


class LoopClients:
    """The HTTP clients of one event loop, closed when the loop ends."""

    def __init__(self) -> None:
        """Start with no clients."""
        self._clients: dict[Hashable, Any] = {}
        self._closers: list[Callable[[], Awaitable[Any]]] = []
        self._anchor: AsyncGenerator[None] | None = None

    async def anchor(self) -> None:
        """Close the clients when the running loop shuts down its async generators, as `asyncio.run` does at its end."""
        self._anchor = self._until_shutdown()
        await anext(self._anchor)

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the client for a key, made on first use."""
        if key not in self._clients:
            self._clients[key] = client = make()
            self._closers.append(client.aclose)
        return self._clients[key]

    def on_close(self, close: Callable[[], Awaitable[Any]]) -> None:
        """Register a function to call when the loop ends."""
        self._closers.append(close)

    async def _until_shutdown(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            closers, self._closers = self._closers, []
            self._clients.clear()
            await asyncio.gather(*(close() for close in closers), return_exceptions=True)


_of_loops = PerLoop[LoopClients]()


async def clients_here() -> LoopClients:
    """Return the clients of the running loop."""
    clients = _of_loops.get()
    if clients is None:
        clients = _of_loops.set(LoopClients())
        await clients.anchor()
    return clients


def copied_for_loop(runnable: Any, clients: LoopClients) -> Any:  # noqa: PLR0911  # one for each kind of Runnable
    """Return a copy of a Runnable whose chat models have HTTP clients of the running loop.

    Args:
        runnable: A chat model, or a composition of chat models, prompts and parsers.
        clients: The clients of the loop.

    Returns:
        The copy, or `None` if the Runnable has a part that cannot be copied, such as a function.
    """

    def copied(inner: Any) -> Any:
        return copied_for_loop(inner, clients)

    if getattr(runnable, "any_loop", False) or isinstance(runnable, _PURE):
        return runnable
    if isinstance(runnable, BaseChatModel):
        return copy_for_loop(runnable, clients.get, clients.on_close)
    if isinstance(runnable, RunnableBindingBase):
        bound = copied(runnable.bound)
        return None if bound is None else runnable.model_copy(update={"bound": bound})
    if isinstance(runnable, RunnableWithFallbacks):
        all_copies = [copied(each) for each in (runnable.runnable, *runnable.fallbacks)]
        update = {"runnable": all_copies[0], "fallbacks": all_copies[1:]}
        return None if None in all_copies else runnable.model_copy(update=update)
    if isinstance(runnable, RunnableSequence):
        steps = [copied(each) for each in runnable.steps]
        return None if None in steps else RunnableSequence(*steps, name=runnable.name)
    if isinstance(runnable, RunnableParallel):
        branches = {name: copied(each) for name, each in runnable.steps__.items()}
        return None if None in branches.values() else runnable.model_copy(update={"steps__": branches})
    return None


async def has_async_side(runnable: Any) -> bool:
    """Return whether a Runnable, and the checkpointer of a graph, implement async methods."""
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    if isinstance(runnable, BaseChatModel):
        return has_async_methods(runnable)
    if isinstance(runnable, RunnableLambda):
        return hasattr(runnable, "afunc")
    if isinstance(runnable, Pregel):
        return await _saves_async(runnable.checkpointer)
    return isinstance(runnable, PregelProtocol) or type(runnable).ainvoke is not Runnable.ainvoke


async def _saves_async(checkpointer: Any) -> bool:
    """Return whether a checkpointer has async methods, by reading a thread that does not exist."""
    if not isinstance(checkpointer, BaseCheckpointSaver):
        return True
    try:
        await checkpointer.aget_tuple({"configurable": {"thread_id": "langchain-moa: is there an async side?"}})
    except NotImplementedError:
        return False
    except Exception:  # noqa: BLE001  # other errors are raised by the call itself
        return True
    return True


async def callable_here(runnable: Any) -> tuple[Any, bool]:
    """Return the Runnable to call on the running loop, and whether to call its async methods.

    Args:
        runnable: The Runnable as the user gave it.

    Returns:
        A copy for this loop, or the Runnable itself if it cannot be copied; and whether to call its async methods. On the
        portal's loop, a Runnable that cannot be copied is called sync in a worker thread, because its async clients may belong
        to another loop.
    """
    copy = copied_for_loop(runnable, await clients_here())
    if copy is not None:
        return copy, True
    return runnable, not is_on_portal() and await has_async_side(runnable)
