"""The run inside a `ChatMoA`: isolated from the caller's run; its answer becomes the outer model's."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
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
"""The name of the custom events by which callback handlers and `astream_events` see the progress of a run."""


@dataclass(frozen=True)
class OuterRun:
    """The run of the `ChatMoA` itself, as far as its inner run needs it.

    Attributes:
        handlers: Those that look inside: tracers, which draw the tree, watchers, which record it, and usage counters, which
            count by model.
        run_id: The parent of the inner run in traces; `None` without a tracer.
        listeners: Those that are told of the run's progress; none if the mixture is a part of another one.
        writer: Writes to the `custom` stream of the graph that the `ChatMoA` is called in; `None` outside of graphs.
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
        """Pick the handlers that look inside from all that watch a run.

        Args:
            handlers: All of them.
            run_id: The run's id.
            tags: The run's tags.
            metadata: The run's metadata.
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
        """Pass an event of the inner graph on to those that watch the outer run.

        Args:
            event: The event, as the graph's `custom` stream has it.
        """
        if self.writer is not None:
            self.writer(dict(event))
        self._manager(CallbackManager).on_custom_event(EVENT, dict(event), run_id=self.run_id)

    async def atell(self, event: Mapping[str, Any]) -> None:
        """Pass an event on from async code; see `tell`."""
        if self.writer is not None:
            self.writer(dict(event))
        await self._manager(AsyncCallbackManager).on_custom_event(EVENT, dict(event), run_id=self.run_id)

    def _manager(self, kind: type[M]) -> M:
        return kind(list(self.listeners), tags=list(self.tags), metadata=dict(self.metadata))


def _stream_writer() -> StreamWriter | None:
    """Return what writes to the `custom` stream of the running graph; `None` outside of one."""
    try:
        writer = get_stream_writer()
    except (KeyError, RuntimeError):
        return None
    # The writer reads the config of its node at each call, and that is hidden while the inner run starts.
    context = copy_context()
    return lambda event: context.run(writer, event)


_NO_RUN = OuterRun()

outer_run: ContextVar[OuterRun] = ContextVar("outer_run", default=_NO_RUN)
"""The run that `_stream` belongs to: LangChain hands `_stream` no run manager where it streams an `invoke`."""


@contextmanager
def entered(run: OuterRun) -> Generator[None]:
    """Let `_stream`, called inside, know its run."""
    token = outer_run.set(run)
    try:
        yield
    finally:
        outer_run.reset(token)


def counts_usage(handler: BaseCallbackHandler) -> bool:
    """Tell whether a handler adds up tokens by model; such a one counts the members' calls, not the sum again."""
    return isinstance(handler, UsageMetadataCallbackHandler)


def configured(config: RunnableConfig, run_id: UUID) -> tuple[BaseCallbackManager, OuterRun]:
    """Return a call's callbacks, usage counters taken out, and its run.

    Args:
        config: The call's config; the handlers of the context (`get_usage_metadata_callback`, tracing) are added to its own.
        run_id: The run's id.
    """
    manager = CallbackManager.configure(config.get("callbacks"))
    tags, metadata = config.get("tags") or (), config.get("metadata") or {}
    run = OuterRun.of(manager.handlers, run_id, tags=[*manager.tags, *tags], metadata={**manager.metadata, **metadata})
    for handler in filter(counts_usage, run.handlers):
        manager.remove_handler(handler)
    return manager, run


@contextmanager
def isolated() -> Generator[None]:
    """Hide the caller's config and the handlers of the context from whatever starts inside."""
    # LangChain merges both into every run that starts below: the caller's checkpointer, tags, recursion limit and stream
    # handlers would reach the members, and a handler of the context would see one chat model start for every member.
    tokens = [(variable, variable.set(None)) for variable in inherited_context()]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


def _looks_inside(handler: BaseCallbackHandler) -> bool:
    # The tracers behind `astream_log` and `astream_events` stream tokens to users; inside, they would show the proposers'.
    return counts_usage(handler) or (
        isinstance(handler, (BaseTracer, AsyncBaseTracer, RunWatcher)) and not streams_tokens(handler)
    )


_MOST = 128


class TurnReferences:
    """The references of the latest turns, by the content of their conversation up to the user's last message.

    By content, because nothing else tells conversations apart: one chat model serves many, from many threads at once. What
    is kept is bounded; a turn that has been dropped is asked again.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._kept: OrderedDict[str, list[Reference]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> list[Reference] | None:
        """Return the references of the turn that a conversation is in the middle of.

        Args:
            messages: The conversation. One that ends with the user's message begins a turn, and has none.
            parameters: The call's parameters for every model; with others, the references would be others.
        """
        if not messages or isinstance(messages[-1], HumanMessage):
            return None
        key = self._key(messages, parameters)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any], references: list[Reference]) -> None:
        """Keep the references of a conversation's turn."""
        with self._lock:
            self._kept[self._key(messages, parameters)] = references
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)

    def _key(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> str:
        users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
        turn = messages[: users[-1] + 1] if users else messages
        # Not the ids: clients that keep none send the same conversation with new ids at every step.
        said = [(message.type, message.content, getattr(message, "tool_calls", None)) for message in turn]
        return repr((said, sorted(parameters.items(), key=lambda item: item[0])))


class Engine(NamedTuple):
    """What a mixture's fields are built into.

    Attributes:
        graph: The whole graph.
        tail: The graph from the last merge on, for references that are there already.
        turns: The references of the latest turns.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    tail: CompiledStateGraph[Any, Any, Any, Any]
    turns: TurnReferences


class InnerRun(NamedTuple):
    """An inner run, ready to start; `turns` if its references are to be kept, `outer` to tell of its progress."""

    graph: CompiledStateGraph[Any, Any, Any, Any]
    input: dict[str, Any]
    config: RunnableConfig
    context: MoAContext
    turns: TurnReferences | None
    outer: OuterRun

    def answer(self, state: Mapping[str, Any]) -> AIMessage:
        """Return the answer as the outer model's, which sets its id."""
        if self.turns is not None and "merged" not in self.input:
            self.turns.keep(self.input["messages"], self.context.model_kwargs, state["merged"])
        answer: AIMessage = state["messages"][-1]
        return answer.model_copy(update={"id": None})

    async def steps(self) -> AsyncGenerator[tuple[str, Any]]:
        """Run the graph and yield the items of its streams `custom` and `values`.

        The run is a separate task: leaving the iteration cancels it, and it does not enter the caller's context.
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
    """Tell whether an item of the inner graph's streams is an event of its progress.

    Args:
        mode: LangGraph's name of the stream that it comes from.
        data: The item.
    """
    return mode == "custom" and isinstance(data, Mapping) and EVENT in data


class StreamReader:
    """Turns the inner graph's stream into the outer model's chunks.

    Args:
        run: The run that is streamed.
    """

    def __init__(self, run: InnerRun) -> None:
        self._run = run
        self._state: dict[str, Any] = {}
        self._sent = False

    def read(self, mode: str, data: Any) -> Iterator[ChatGenerationChunk]:
        """Read one item of the stream.

        Args:
            mode: LangGraph's name of the stream that it comes from.
            data: The item.
        """
        if mode == "values":
            self._state = data
        elif isinstance(data, AIMessageChunk):
            self._sent = True
            # The tokens, the account and the end are said once, in the last chunk. The account of an
            # aggregator that is a mixture could not be merged with it.
            said = {key: value for key, value in data.response_metadata.items() if key != "moa"}
            update = {"usage_metadata": None, "chunk_position": None, "id": None, "response_metadata": said}
            yield ChatGenerationChunk(message=data.model_copy(update=update))

    def last(self) -> ChatGenerationChunk:
        """Return the last chunk, which has the account of all calls, and the answer if it has not been streamed."""
        answer = self._run.answer(self._state)
        usage = answer.usage_metadata
        if self._sent:
            moa = {"moa": answer.response_metadata["moa"]}
            empty: str | list[Any] = "" if isinstance(answer.content, str) else []
            return ChatGenerationChunk(
                message=AIMessageChunk(content=empty, usage_metadata=usage, response_metadata=moa, chunk_position="last")
            )
        # The aggregator could not stream: its answer is one chunk.
        message = AIMessageChunk(**answer.model_dump(exclude={"type"}), chunk_position="last")
        return ChatGenerationChunk(message=message)
