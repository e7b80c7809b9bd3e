"""The mixtures of a server: run a mixture's graph for a request, and report its progress.

This is the only module of `serving` that runs the engine.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa.chat_model.chat_model import ChatMoA
from langchain_moa.data.errors import MoAError
from langchain_moa.data.figures import counted
from langchain_moa.data.state import MoAContext
from langchain_moa.data.usage import calls_of
from langchain_moa.engine.graph import build_aggregator, build_graph
from langchain_moa.limits.background import BackgroundLoop, iterate_on
from langchain_moa.serving.binding import Bound, bound_to_aggregator, cut_answer
from langchain_moa.serving.kept_references import KeptReferences

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    from langchain_moa.serving.parameters import Prompting

# The number of steps is fixed by the mixture. LangGraph's default limit is too low for deep mixtures.
_NO_LIMIT = 10_000

# Mixtures run on background event loops, so that the server's own loop stays free for connections. Provider packages convert
# every message, part and tool call for every call, which blocks the loop for long conversations, so these run on a second loop.
_LONG_LENGTH = 256
_SHORT = BackgroundLoop("moa-answers")
_LONG = BackgroundLoop("moa-long-answers")


class ProgressLine(NamedTuple):
    """A line about the progress of a run."""

    text: str


class FinalAnswer(NamedTuple):
    """The final answer of a run.

    Attributes:
        message: The answer, with all calls in its `response_metadata["moa"]`.
        by_tool: Whether an answer in a schema is in the arguments of a tool call, as with some providers.
    """

    message: AIMessage
    by_tool: bool


class ServedMixture:
    """A mixture, ready to answer requests.

    Attributes:
        name: The model name.
        is_alias: Whether it is an alias for one model of a mixture.
    """

    def __init__(self, name: str, moa: ChatMoA, *, alone: bool = False, breakdown: bool = True) -> None:
        """Compile the graphs of a mixture.

        Args:
            name: The model name.
            moa: The mixture.
            alone: Whether it is an alias for a single model.
            breakdown: Whether progress lines name the members.
        """
        self.name = name
        self.is_alias = alone
        self._moa = moa
        self._breakdown = breakdown
        self._graph = build_graph(moa).compile(checkpointer=False, name="mixture")
        self._tail = build_aggregator(moa).compile(checkpointer=False, name="mixture")
        self._kept = KeptReferences(per_turn=moa.references_per == "turn")

    def aliases(self, task_model: Any = None) -> dict[str, ServedMixture]:
        """Return the aliases for single models of this mixture.

        Args:
            task_model: A model for small tasks, such as titles of chats; its alias is `name#task`.
        """
        found = {}
        if self._moa.aggregator is not None:
            name = f"{self.name}#aggregator"
            found[name] = ServedMixture(name, _aggregator_of(self._moa), alone=True, breakdown=self._breakdown)
        if task_model is not None:
            name = f"{self.name}#task"
            moa = ChatMoA(proposers=[task_model], aggregator=task_model, num_layers=1)
            found[name] = ServedMixture(name, moa, alone=True, breakdown=self._breakdown)
        return found

    def bound(self, prompting: Prompting) -> Bound:
        """Convert tools and schema to the format of the aggregator's provider.

        Raises:
            ApiError: The aggregator does not support tools, or a schema.
        """
        return bound_to_aggregator(self._moa, prompting.own, stream=prompting.stream)

    def run(
        self, prompting: Prompting, bound: Bound, paid: Callable[[Sequence[Mapping[str, Any]]], None]
    ) -> AsyncGenerator[ProgressLine | AIMessageChunk | FinalAnswer]:
        """Run the mixture on a background event loop.

        Args:
            prompting: The request.
            bound: The aggregator's keyword arguments.
            paid: Called once at the end of the run, even after an error, with an entry for each call.

        Yields:
            Progress lines, the chunks of the answer if it is streamed, and the final answer.
        """
        loop = _LONG if _length(prompting.messages) > _LONG_LENGTH else _SHORT
        return iterate_on(loop, lambda: self._run(prompting, bound, paid))

    async def _run(
        self, prompting: Prompting, bound: Bound, paid: Callable[[Sequence[Mapping[str, Any]]], None]
    ) -> AsyncGenerator[ProgressLine | AIMessageChunk | FinalAnswer]:
        kept = [] if self.is_alias else self._kept.find(prompting)
        graph: CompiledStateGraph[Any, Any, Any, Any] = self._graph if kept is None else self._tail
        state: dict[str, Any] = {"messages": prompting.messages} | ({} if kept is None else {"merged": kept})
        context = MoAContext(model_kwargs=prompting.shared, aggregator_kwargs=bound.own, stream_answer=bound.streams)
        config: RunnableConfig = {
            "callbacks": self._moa.callbacks,
            "tags": self._moa.tags or [],
            "metadata": self._moa.metadata or {},
            "recursion_limit": _NO_LIMIT,
            "run_name": self.name,
        }
        teller = _Teller(self._moa, names=self._breakdown)
        if not self.is_alias:
            yield ProgressLine(teller.first(reused=kept is not None))
        calls: Sequence[Mapping[str, Any]] = ()
        closed = kept
        try:
            run: Any = graph.astream(state, config, context=context, stream_mode=["custom", "values"])
            async with aclosing(run) as steps:
                async for mode, data in steps:
                    if mode == "values":
                        state = data
                        calls = [*state.get("references", ()), *state.get("steps", ())]
                        if teller.layers_are_closed:
                            closed = state.get("merged")
                    elif isinstance(data, AIMessageChunk):
                        yield data
                    elif not self.is_alias and (line := teller.read(data)) is not None:
                        yield ProgressLine(line)
            message = state["messages"][-1]
            calls = calls_of(message.response_metadata["moa"])
            self._kept.succeeded(prompting, closed)
            yield FinalAnswer(message, bound.by_tool)
            closed = None
        except MoAError as error:
            calls = [*error.references, *error.steps]
            if (message := cut_answer(error, self._moa)) is None:
                raise
            calls = calls_of(message.response_metadata["moa"])
            closed = None
            yield FinalAnswer(message, bound.by_tool)
        finally:
            if closed:
                self._kept.failed(prompting, closed)
            paid(calls)


def _length(messages: Sequence[BaseMessage]) -> int:
    """Return the number of messages, with each part and tool call counted as one."""
    parts = sum(len(message.content) if isinstance(message.content, list) else 1 for message in messages)
    return parts + sum(len(message.tool_calls) for message in messages if isinstance(message, AIMessage))


def _aggregator_of(moa: ChatMoA) -> ChatMoA:
    """Return a mixture whose aggregator answers without references. Only its aggregation is run."""
    return moa.model_copy(update={"aggregation": "synthesize", "prompt": "paper"})


class _Teller:
    """Turns the events of a run into progress lines.

    Attributes:
        layers_are_closed: Whether all proposers have finished.
    """

    def __init__(self, moa: ChatMoA, *, names: bool) -> None:
        self._sizes = [len(layer) for layer in moa.members.layers]
        self._names = names
        self._layer = 1
        self.layers_are_closed = False

    def first(self, *, reused: bool) -> str:
        return "reusing the references of the previous attempt" if reused else self._asking(1)

    def read(self, event: Any) -> str | None:
        match event:
            case {"moa": "proposing", "layer": layer} if layer > self._layer:
                self._layer = layer
                return self._asking(layer)
            case {"moa": "proposed", "status": status, "seconds": seconds, "error": error}:
                kind = f" ({error['kind']})" if error and self._names else ""
                return f"{self._who(event)}: {'done' if status == 'ok' else f'{status}{kind}'}, {seconds:.1f} s"
            case {"moa": "merged", "layer": layer, "stopped": stopped}:
                self.layers_are_closed = bool(stopped) or layer == len(self._sizes)
                return f"layer {layer} is enough: {stopped}" if stopped and self._names else None
            case {"moa": "aggregating"}:
                return f"{self._who(event)} writes the answer" if self._names else "writing the answer"
        return None

    def _asking(self, layer: int) -> str:
        size, many = self._sizes[layer - 1], len(self._sizes)
        return f"asking {counted(size, 'model')}, layer {layer} of {many}"

    def _who(self, event: Mapping[str, Any]) -> str:
        return str(event.get("name")) if self._names else f"model {event.get('proposer')}"
