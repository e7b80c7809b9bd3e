"""The graph's run inside a `ChatMoA`, which is isolated from the caller's run and provides its answer."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    UsageMetadataCallbackHandler,
)
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langgraph.config import get_stream_writer

from langchain_moa._compat import inherited_context, streams_tokens
from langchain_moa.engine.tracing import RunWatcher
from langchain_moa.members.member import is_in_mixture

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
    from uuid import UUID

    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import StreamWriter

    from langchain_moa.data.reference import Reference
    from langchain_moa.data.state import MoAContext

M = TypeVar("M", CallbackManager, AsyncCallbackManager)


EVENT = "moa"
"""The name of the custom events that report the progress of a run to callback handlers and `astream_events`."""


@dataclass(frozen=True)
class OuterRun:
    """The run of the `ChatMoA` itself, with what its inner run needs.

    Attributes:
        handlers: The handlers for the inner run: tracers, watchers, and usage counters, which count tokens by model.
        run_id: The id of the run, which is the parent of the inner run in traces; `None` for an unknown run.
        listeners: The handlers that receive progress events; none inside another mixture.
        writer: Writes to the `custom` stream of the graph that calls the `ChatMoA`; `None` outside of graphs and inside another
            mixture.
        tags: The tags of the run.
        metadata: The metadata of the run.
    """

    handlers: Sequence[BaseCallbackHandler] = ()
    run_id: UUID | None = None
    listeners: Sequence[BaseCallbackHandler] = ()
    writer: StreamWriter | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        handlers: Sequence[BaseCallbackHandler],
        run_id: UUID,
        *,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> OuterRun:
        """Make an outer run from the handlers of a run.

        Args:
            handlers: All handlers of the run.
            run_id: The id of the run.
            tags: The tags of the run.
            metadata: The metadata of the run.
        """
        inside = is_in_mixture()
        return cls(
            handlers=[handler for handler in handlers if _looks_inside(handler)],
            run_id=run_id,
            listeners=[] if inside else [handler for handler in handlers if not handler.ignore_custom_event],
            writer=None if inside else _stream_writer(),
            tags=list(tags or ()),
            metadata=dict(metadata or {}),
        )

    def callbacks(self) -> CallbackManager:
        """Return the callbacks of the inner run."""
        return CallbackManager(list(self.handlers), inheritable_handlers=list(self.handlers), parent_run_id=self.run_id)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Send an event of the inner graph to the listeners and the stream of the outer run.

        Args:
            event: The event from the graph's `custom` stream.
        """
        if self.writer is not None:
            self.writer(dict(event))
        self._manager(CallbackManager).on_custom_event(EVENT, dict(event), run_id=self.run_id)

    async def atell(self, event: Mapping[str, Any]) -> None:
        """Send an event from async code; see `tell`."""
        if self.writer is not None:
            self.writer(dict(event))
        await self._manager(AsyncCallbackManager).on_custom_event(EVENT, dict(event), run_id=self.run_id)

    def _manager(self, kind: type[M]) -> M:
        return kind(list(self.listeners), tags=list(self.tags), metadata=dict(self.metadata))


def _stream_writer() -> StreamWriter | None:
    """Return the writer of the running graph's `custom` stream, or `None` outside of a graph."""
    try:
        writer = get_stream_writer()
    except (KeyError, RuntimeError):
        return None
    # At each call, the writer reads the config of its node, which `isolated` hides while the inner run starts.
    context = copy_context()
    return lambda event: context.run(writer, event)


_NO_RUN = OuterRun()

outer_run: ContextVar[OuterRun] = ContextVar("outer_run", default=_NO_RUN)
"""The run that `_stream` belongs to. LangChain does not pass `_stream` a run manager if `invoke` streams."""


@contextmanager
def entered(run: OuterRun) -> Generator[None]:
    """Within the context, set the run that `_stream` belongs to."""
    token = outer_run.set(run)
    try:
        yield
    finally:
        outer_run.reset(token)


def counts_usage(handler: BaseCallbackHandler) -> bool:
    """Return whether a handler adds up tokens by model. Such handlers count the members' calls, not the mixture's answer."""
    return isinstance(handler, UsageMetadataCallbackHandler)


def configured(config: RunnableConfig, run_id: UUID) -> tuple[BaseCallbackManager, OuterRun]:
    """Return the callbacks of a call without usage counters, and its run.

    Args:
        config: The config of the call. The handlers of the context (`get_usage_metadata_callback`, tracing) are added.
        run_id: The id of the run.
    """
    manager = CallbackManager.configure(config.get("callbacks"))
    tags, metadata = config.get("tags") or (), config.get("metadata") or {}
    run = OuterRun.of(manager.handlers, run_id, tags=[*manager.tags, *tags], metadata={**manager.metadata, **metadata})
    for handler in filter(counts_usage, run.handlers):
        manager.remove_handler(handler)
    return manager, run


@contextmanager
def isolated() -> Generator[None]:
    """Within the context, hide the caller's config and the handlers of its context from new runs."""
    # LangChain merges both into every nested run: the caller's checkpointer, tags, recursion limit and stream handlers would
    # reach the members, and handlers of the context would see each member as a separate chat model.
    tokens = [(variable, variable.set(None)) for variable in inherited_context()]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


def _looks_inside(handler: BaseCallbackHandler) -> bool:
    # The tracers of `astream_log` and `astream_events` stream tokens to users, and would show those of the proposers.
    return counts_usage(handler) or (
        isinstance(handler, (BaseTracer, AsyncBaseTracer, RunWatcher)) and not streams_tokens(handler)
    )


_MOST = 128


class TurnReferences:
    """A bounded cache of the references of the latest turns.

    The key is the content of the conversation up to the user's last message, because a chat model serves many conversations
    from many threads and gets no other id of them. For a turn that was dropped, the proposers are called again.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._kept: OrderedDict[str, list[Reference]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> list[Reference] | None:
        """Return the references of the current turn of a conversation, or `None`.

        Args:
            messages: The conversation. If it ends with a user message, a new turn starts, which has no references yet.
            parameters: The call's parameters for all models, which are part of the key.
        """
        if not messages or isinstance(messages[-1], HumanMessage):
            return None
        key = self._key(messages, parameters)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any], references: list[Reference]) -> None:
        """Store the references of the current turn of a conversation."""
        with self._lock:
            self._kept[self._key(messages, parameters)] = references
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)

    def _key(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> str:
        users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
        turn = messages[: users[-1] + 1] if users else messages
        # Without ids: some clients send the same conversation with new ids at every step.
        said = [(message.type, message.content, getattr(message, "tool_calls", None)) for message in turn]
        # A hash, because a conversation may have large images.
        return sha256(repr((said, sorted(parameters.items(), key=lambda item: item[0]))).encode()).hexdigest()


class Engine(NamedTuple):
    """The compiled graphs of a mixture, and its cache of references.

    Attributes:
        graph: The whole graph.
        tail: The graph of the aggregation only, for turns whose references are cached.
        turns: The references of the latest turns.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    tail: CompiledStateGraph[Any, Any, Any, Any]
    turns: TurnReferences


class InnerRun(NamedTuple):
    """An inner run that is ready to start. `turns` stores its references, if given; `outer` receives its progress."""

    graph: CompiledStateGraph[Any, Any, Any, Any]
    input: dict[str, Any]
    config: RunnableConfig
    context: MoAContext
    turns: TurnReferences | None
    outer: OuterRun

    def answer(self, state: Mapping[str, Any]) -> AIMessage:
        """Return the answer without an id, which the outer model sets, and store the references of the turn."""
        if self.turns is not None and "merged" not in self.input:
            self.turns.keep(self.input["messages"], self.context.model_kwargs, state["merged"])
        answer: AIMessage = state["messages"][-1]
        return answer.model_copy(update={"id": None})

    async def steps(self) -> AsyncGenerator[tuple[str, Any]]:
        """Run the graph and yield the items of its streams `custom` and `values`.

        The graph runs in a separate task, so that the caller's context is not changed. If the iteration ends early, the task is
        cancelled.
        """
        items: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()

        async def pump() -> None:
            try:
                with isolated():
                    steps = self.graph.astream(self.input, self.config, context=self.context, stream_mode=["custom", "values"])
                    async with aclosing(cast("AsyncGenerator[Any]", steps)) as each:
                        async for item in each:
                            items.put_nowait(item)
            finally:
                items.put_nowait(None)

        task = asyncio.create_task(pump())
        try:
            while (item := await items.get()) is not None:
                yield item
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])


def is_event(mode: str, data: Any) -> bool:
    """Return whether an item of the inner graph's streams is a progress event.

    Args:
        mode: LangGraph's name of the stream.
        data: The item.
    """
    return mode == "custom" and isinstance(data, Mapping) and EVENT in data


class StreamReader:
    """Converts the inner graph's stream to the chunks of the outer model.

    Args:
        run: The run to stream.
    """

    def __init__(self, run: InnerRun) -> None:
        self._run = run
        self._state: dict[str, Any] = {}
        self._sent = False

    def read(self, mode: str, data: Any) -> Iterator[ChatGenerationChunk]:
        """Read an item of the stream, and yield its chunk if it is one.

        Args:
            mode: LangGraph's name of the stream.
            data: The item.
        """
        if mode == "values":
            self._state = data
        elif isinstance(data, AIMessageChunk):
            self._sent = True
            # The last chunk has the usage, the account and the end of the stream. The account of an aggregator that is a
            # mixture is removed, because it could not be merged with this one.
            said = {key: value for key, value in data.response_metadata.items() if key != "moa"}
            update = {"usage_metadata": None, "chunk_position": None, "id": None, "response_metadata": said}
            yield ChatGenerationChunk(message=data.model_copy(update=update))

    def last(self) -> ChatGenerationChunk:
        """Return the last chunk, with the account of all calls, and with the answer if it was not streamed."""
        answer = self._run.answer(self._state)
        usage = answer.usage_metadata
        if self._sent:
            moa = {"moa": answer.response_metadata["moa"]}
            empty: str | list[Any] = "" if isinstance(answer.content, str) else []
            return ChatGenerationChunk(
                message=AIMessageChunk(content=empty, usage_metadata=usage, response_metadata=moa, chunk_position="last")
            )
        # The aggregator does not stream, so the answer is a single chunk.
        message = AIMessageChunk(**answer.model_dump(exclude={"type"}), chunk_position="last")
        return ChatGenerationChunk(message=message)
