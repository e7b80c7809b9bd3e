"""The recorder: a callback handler that makes a `MoARun` of every answer of a mixture that it sees."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from langchain_moa.engine.watcher import Watcher
from langchain_moa.mixture.mixture import Mixture
from langchain_moa.runs.call_watch import CallWatch, StreamingCallWatch
from langchain_moa.runs.run_watch import Node, RunWatch

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.runs.run import MoARun


_DESCRIBED = {*Mixture.model_fields, "filters"}


class _Begun(NamedTuple):
    """A run of LangChain's that has begun: a graph's, a node's, a model's."""

    parent: UUID | None
    at: float
    inputs: Any = None
    node: str = ""
    described: dict[str, Any] | None = None


@dataclass(eq=False)
class Recorder(Watcher):
    """Records every answer that a mixture gives where this handler is among the callbacks.

    `record_moa` puts one there for all that is called inside a block; give it as a callback yourself where calls leave the
    context that they began in, or to record one call only. It serves any number of answers at once, from threads and tasks.
    A run is added to `runs` when it ends; a mixture inside a mixture is in its call, not in the list.

    Attributes:
        first_tokens: Whether the members are called so that they stream, where they can: only then is the time of their
            first token known. It changes the requests that they send. Default: False; who streams anyway is seen anyway.
        runs: The runs that have ended, in the order of their ends.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.runs import Recorder

        recorder = Recorder()
        ChatMoA.from_preset("local", max_tokens=32).invoke("Why is the sky blue?", {"callbacks": [recorder]})
        print(recorder.runs[0].seconds)
        ```
    """

    # In the order of events, and not in a pool of threads some time later.
    run_inline = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    first_tokens: bool = False
    runs: list[MoARun] = field(default_factory=list)
    _begun: dict[UUID, _Begun] = field(default_factory=dict, repr=False)
    _answers: dict[UUID, RunWatch] = field(default_factory=dict, repr=False)
    _calls: dict[UUID, list[CallWatch]] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    # --- what the nodes tell ---

    @override
    def watch_mixture(self, config: RunnableConfig, mixture: Mixture) -> None:
        with self._lock:
            if (answer := self._answer(_node_id(config))) is not None:
                answer.introduce(mixture)

    @override
    def watch_call(self, config: RunnableConfig, name: str, member: Member) -> BaseCallbackHandler:
        node_id = _node_id(config)
        metadata = config.get("metadata") or {}
        watch = StreamingCallWatch if self.first_tokens else CallWatch
        call = watch(node_id, str(metadata.get("langgraph_node", "")), name, member)  # type: ignore[arg-type]  # no id: nobody's
        with self._lock:
            if (answer := self._answer(node_id)) is not None:
                answer.calls.append(call)
                self._calls.setdefault(call.node_id, []).append(call)
        return call

    # --- what LangChain tells ---

    @override
    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, metadata: Any = None, **_: Any
    ) -> None:
        """Take down that a graph, a node or another Runnable has begun."""
        self._begun[run_id] = _Begun(parent_run_id, perf_counter(), inputs, (metadata or {}).get("langgraph_node", ""))

    def on_chat_model_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **data: Any) -> None:
        """Take down that a chat model has begun, which may be a mixture."""
        params = data.get("invocation_params") or {}
        # A chat model that is a mixture describes itself; the other parameters are the call's.
        described = {key: value for key, value in params.items() if key in _DESCRIBED} if params.get("_type") == "moa" else None
        self._begun[run_id] = _Begun(parent_run_id, perf_counter(), described=described)

    def on_tool_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Take down that a tool has begun, which may call a mixture."""
        self._begun[run_id] = _Begun(parent_run_id, perf_counter())

    def on_llm_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        """Take down that a text model has begun."""
        self._begun[run_id] = _Begun(parent_run_id, perf_counter())

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Take down what a node, or a whole graph, came to."""
        self._end(run_id, outputs, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Take down why a node, or a whole graph, failed."""
        self._end(run_id, None, error)

    def on_llm_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Forget a model's run that has ended."""
        self._begun.pop(run_id, None)

    def on_llm_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Forget a model's run that has failed."""
        self._begun.pop(run_id, None)

    def on_tool_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Forget a tool's run that has ended."""
        self._begun.pop(run_id, None)

    def on_tool_error(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Forget a tool's run that has failed."""
        self._begun.pop(run_id, None)

    # --- what it makes of it ---

    def _answer(self, node_id: UUID | None) -> RunWatch | None:
        """Return the answer that a node works on; the first node that says something begins it."""
        node = None if node_id is None else self._begun.get(node_id)
        graph = None if node is None or node.parent is None else self._begun.get(node.parent)
        if node is None or node.parent is None or graph is None:
            return None  # this handler came too late to see the graph begin
        if node.parent not in self._answers:
            outer = None if graph.parent is None else self._begun.get(graph.parent)
            answer = RunWatch(node.parent, graph.at, described=None if outer is None else outer.described)
            answer.ask(node.inputs)
            answer.call = self._outer_call(graph.parent)
            self._answers[node.parent] = answer
        return self._answers[node.parent]

    def _outer_call(self, run_id: UUID | None) -> CallWatch | None:
        """Return the call of another mixture that a run belongs to."""
        while run_id is not None:
            if calls := self._calls.get(run_id):
                return calls[-1]
            begun = self._begun.get(run_id)
            run_id = None if begun is None else begun.parent
        return None

    def _end(self, run_id: UUID, outputs: Any, error: BaseException | None) -> None:
        with self._lock:
            begun = self._begun.pop(run_id, None)
            if (answer := self._answers.pop(run_id, None)) is not None:
                self._finish(answer, outputs, error)
            elif begun is not None and begun.parent in self._answers:
                calls = self._calls.pop(run_id, [])
                self._answers[begun.parent].node_ended(Node(begun.node, begun.inputs), calls, outputs, error)

    def _finish(self, answer: RunWatch, outputs: Any, error: BaseException | None) -> None:
        for call in answer.calls:
            self._calls.pop(call.node_id, None)
        run = answer.run(outputs, error)
        if answer.call is None:
            self.runs.append(run)
        else:
            answer.call.runs.append(run)


def _node_id(config: RunnableConfig) -> UUID | None:
    return getattr(config.get("callbacks"), "parent_run_id", None)
