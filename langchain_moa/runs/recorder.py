"""`record_moa`, and the callback handler that records each answer of a mixture as a `MoARun`."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from langchain_moa.engine.tracing import RunWatcher
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.runs.call_recorder import CallRecorder, StreamingCallRecorder
from langchain_moa.runs.run_recorder import RunRecorder

if TYPE_CHECKING:
    from collections.abc import Generator
    from uuid import UUID

    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.runs.run import MoARun


_DESCRIBED = {*Mixture.model_fields, "filters"}


class _OpenRun(NamedTuple):
    """A LangChain run in progress: of a graph, a node or a model."""

    parent: UUID | None
    at: float
    inputs: Any = None
    node: str = ""
    described: dict[str, Any] | None = None


@dataclass(eq=False)
class Recorder(RunWatcher):
    """A callback handler that records every answer of the mixtures called with it.

    `record_moa` adds one to all calls inside a block. Pass one as a callback yourself to record a single call, or calls in your
    own threads. A recorder can be used by any number of concurrent calls, in threads and tasks. Each run is added to `runs`
    when it ends. The run of a nested mixture is in the record of its call, not in this list.

    Attributes:
        first_tokens: Whether to make members stream if they can, to record the times of their first tokens. This changes the
            requests. Default: False, which records these times only for members that stream anyway.
        runs: The finished runs, in the order in which they ended.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.runs import Recorder

        recorder = Recorder()
        ChatMoA.from_preset("local", max_tokens=32).invoke("Why is the sky blue?", {"callbacks": [recorder]})
        print(recorder.runs[0].seconds)
        ```
    """

    # Handle events in order, and not in a thread pool.
    run_inline = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    first_tokens: bool = False
    runs: list[MoARun] = field(default_factory=list)
    _begun: dict[UUID, _OpenRun] = field(default_factory=dict, repr=False)
    _recorders: dict[UUID, RunRecorder] = field(default_factory=dict, repr=False)
    _calls: dict[UUID, list[CallRecorder]] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    # --- called by the nodes ---

    @override
    def watch_mixture(self, config: RunnableConfig, mixture: Mixture) -> None:
        with self._lock:
            if (run := self._run_of(_node_id(config))) is not None:
                run.introduce(mixture)

    @override
    def watch_call(self, config: RunnableConfig, name: str, member: Member) -> BaseCallbackHandler:
        node_id = _node_id(config)
        metadata = config.get("metadata") or {}
        watch = StreamingCallRecorder if self.first_tokens else CallRecorder
        call = watch(node_id, str(metadata.get("langgraph_node", "")), name, member)  # type: ignore[arg-type]  # a call without an id belongs to no run
        with self._lock:
            if (run := self._run_of(node_id)) is not None:
                run.calls.append(call)
                self._calls.setdefault(call.node_id, []).append(call)
        return call

    # --- called by LangChain ---

    @override
    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, metadata: Any = None, **_: Any
    ) -> None:
        """Record the start of a graph, a node or another Runnable."""
        self._begun[run_id] = _OpenRun(parent_run_id, perf_counter(), inputs, (metadata or {}).get("langgraph_node", ""))

    def on_chat_model_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **data: Any) -> None:
        """Record the start of a chat model, which may be a mixture."""
        params = data.get("invocation_params") or {}
        # Keep the description of a chat model that is a mixture; its other parameters are those of the call.
        described = {key: value for key, value in params.items() if key in _DESCRIBED} if params.get("_type") == "moa" else None
        self._begun[run_id] = _OpenRun(parent_run_id, perf_counter(), described=described)

    def on_tool_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Record the start of a tool, which may call a mixture."""
        self._begun[run_id] = _OpenRun(parent_run_id, perf_counter())

    def on_llm_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Record the start of a text model."""
        self._begun[run_id] = _OpenRun(parent_run_id, perf_counter())

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Record the output of a node or a graph."""
        self._end(run_id, outputs, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record the error of a node or a graph."""
        self._end(run_id, None, error)

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove the finished run of a model."""
        self._begun.pop(run_id, None)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove the failed run of a model."""
        self._begun.pop(run_id, None)

    def on_tool_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove the finished run of a tool."""
        self._begun.pop(run_id, None)

    def on_tool_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Remove the failed run of a tool."""
        self._begun.pop(run_id, None)

    # --- building the runs ---

    def _run_of(self, node_id: UUID | None) -> RunRecorder | None:
        """Return the recorder of the run that a node belongs to, and create it for the first node that reports something."""
        node = None if node_id is None else self._begun.get(node_id)
        graph = None if node is None or node.parent is None else self._begun.get(node.parent)
        if node is None or node.parent is None or graph is None:
            return None  # the graph started before this handler was added
        if node.parent not in self._recorders:
            outer = None if graph.parent is None else self._begun.get(graph.parent)
            run = RunRecorder(node.parent, graph.at, described=None if outer is None else outer.described)
            run.ask(node.inputs)
            run.call = self._outer_call(graph.parent)
            self._recorders[node.parent] = run
        return self._recorders[node.parent]

    def _outer_call(self, run_id: UUID | None) -> CallRecorder | None:
        """Return the call of the outer mixture that a run is nested in, or `None`."""
        while run_id is not None:
            if calls := self._calls.get(run_id):
                return calls[-1]
            begun = self._begun.get(run_id)
            run_id = None if begun is None else begun.parent
        return None

    def _end(self, run_id: UUID, outputs: Any, error: BaseException | None) -> None:
        with self._lock:
            begun = self._begun.pop(run_id, None)
            if (run := self._recorders.pop(run_id, None)) is not None:
                self._finish(run, outputs, error)
            elif begun is not None and begun.parent in self._recorders:
                calls = self._calls.pop(run_id, [])
                self._recorders[begun.parent].node_ended(begun.node, begun.inputs, calls, outputs, error=error)

    def _finish(self, run: RunRecorder, outputs: Any, error: BaseException | None) -> None:
        for call in run.calls:
            self._calls.pop(call.node_id, None)
        record = run.run(outputs, error)
        if run.call is None:
            self.runs.append(record)
        else:
            run.call.runs.append(record)


def _node_id(config: RunnableConfig) -> UUID | None:
    return getattr(config.get("callbacks"), "parent_run_id", None)


_recorder: ContextVar[Recorder | None] = ContextVar("moa_recorder", default=None)

# LangChain then reads the handler for each call from this variable.
register_configure_hook(_recorder, inheritable=True)


@contextmanager
def record_moa(*, first_tokens: bool = False) -> Generator[list[MoARun]]:
    """Record every answer of mixtures inside the block, from `ChatMoA` or a graph; sync, async, streamed or in batches.

    It records calls in this context and in the tasks and threads that LangChain starts from it. Blocks in other tasks and
    threads are independent; in nested blocks, only the innermost one records. In your own threads, start the block inside the
    thread, or pass a `langchain_moa.runs.Recorder` as a callback. Nothing is recorded outside of such a block.

    Args:
        first_tokens: Whether to make members stream if they can, to record the times of their first tokens. This changes the
            requests. Default: False, which records these times only for members that stream anyway.

    Yields:
        The list of runs. Each run is added when it ends: with an answer, with an error, or when the caller stops a stream.

    Example:
        ```python
        from langchain_moa import ChatMoA, record_moa

        moa = ChatMoA.from_preset("local", max_tokens=32)
        with record_moa() as runs:
            moa.invoke("Why is the sky blue?")
            moa.batch(["What do bees make?", "What is a shadow?"])
        print([(run.status, run.seconds) for run in runs])
        runs[0].to_html("run.html")
        ```
    """
    recorder = Recorder(first_tokens=first_tokens)
    token = _recorder.set(recorder)
    try:
        yield recorder.runs
    finally:
        _recorder.reset(token)
