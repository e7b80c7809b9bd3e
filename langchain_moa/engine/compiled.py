"""A mixture's graph as LangGraph runs it: uncompiled and compiled, and the references that its stream shows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, cast

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.stream import StreamChannel, StreamTransformer
from typing_extensions import override

from langchain_moa.data.errors import MoAError
from langchain_moa.data.state import MoAContext, MoAState
from langchain_moa.engine.progress import RunState
from langchain_moa.limits.portal import leavable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph.stream import ProtocolEvent

    from langchain_moa.data.reference import Reference

# Beside the proposers, LangGraph's sync executor has a thread that waits for the stream's next item.
_SPARE_THREADS = 2


class MoAGraph(StateGraph[MoAState, MoAContext, MoAState, MoAState]):
    """A mixture's graph before it is compiled: a `StateGraph` in every way, two defaults apart.

    Attributes:
        width: The most nodes that run at once.
    """

    def __init__(self, *, width: int) -> None:
        """Make an empty graph.

        Args:
            width: The most nodes that run at once: the proposers of the widest layer.
        """
        super().__init__(RunState, context_schema=MoAContext, input_schema=MoAState, output_schema=MoAState)
        self.width = width

    @override
    def add_node(self, node: Any, action: Any = None, **options: Any) -> Any:
        """Add a node, which is given the state without what only the run's own nodes share; see `StateGraph.add_node`."""
        return super().add_node(node, action, **{"input_schema": MoAState, **options})

    @override
    def compile(
        self,
        checkpointer: Any = None,
        *,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        **options: Any,
    ) -> CompiledMoA:
        """Compile the graph.

        Args:
            checkpointer: As `StateGraph.compile` takes it.
            transformers: Stream transformers, beside `ReferencesTransformer`, which every mixture has.
            **options: The other arguments of `StateGraph.compile`.

        Returns:
            The compiled graph. In sync code, as many proposers run at once as a layer has: by default LangGraph starts no
            more threads than the machine has cores, and four. A `max_concurrency` in the call's config overrides that.
        """
        all_transformers = [ReferencesTransformer, *(transformers or ())]
        graph = super().compile(checkpointer, transformers=all_transformers, **options)
        # As `Pregel.copy` makes a copy, with a class of ours. What the nodes of a run share beside its state is not shown.
        parts = {**graph.__dict__, "stream_channels": [*MoAState.__annotations__]}
        return CompiledMoA(**parts).with_config(max_concurrency=self.width + _SPARE_THREADS)

    def _repr_html_(self) -> str | None:
        """Show the graph in a notebook."""
        from langchain_moa.drawing.svg import drawing_html

        return drawing_html(self)


class CompiledMoA(CompiledStateGraph[MoAState, MoAContext, MoAState, MoAState]):
    """A mixture's compiled graph: as LangGraph's, except for the end of sync runs and the display in a notebook."""

    @override
    def stream(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph step by step; the arguments are those of LangGraph.

        When you leave the stream, or interrupt it or `invoke` by Ctrl-C, the calls under way are cancelled.
        """
        return leavable(super().stream(*args, **kwargs))

    @override
    async def astream(
        self, input: Any, config: RunnableConfig | None = None, *, context: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Run the graph step by step; the arguments are those of LangGraph.

        Raises:
            MoAError: A caller of a server sets arguments of model calls that may cost the server more, or leak from it.
        """
        _refuse_arguments_of_callers(config, context)
        async with aclosing(cast("AsyncGenerator[Any]", super().astream(input, config, context=context, **kwargs))) as items:
            async for item in items:
                yield item

    def _repr_html_(self) -> str | None:
        from langchain_moa.drawing.svg import drawing_html

        return drawing_html(self)

    @override
    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # LangGraph's own method sends the graph to mermaid.ink, and fails without a network.
        html = self._repr_html_()
        return {"text/plain": repr(self), **({} if html is None else {"text/html": html})}


# What a caller of a server may set of every model call: nothing that chooses another model, another server or a tool.
_OF_CALLERS = {"frequency_penalty", "max_tokens", "presence_penalty", "seed", "stop", "temperature", "top_k", "top_p"}


def _refuse_arguments_of_callers(config: RunnableConfig | None, context: Any) -> None:
    # LangGraph's server says which of its graphs and assistants a run belongs to.
    if not context or not {"assistant_id", "graph_id"} <= ((config or {}).get("configurable") or {}).keys():
        return
    for field in ("model_kwargs", "aggregator_kwargs"):
        given = context.get(field) if isinstance(context, Mapping) else getattr(context, field, None)
        if refused := sorted(set(given or ()) - _OF_CALLERS):
            may = ", ".join(sorted(_OF_CALLERS))
            msg = f"context: {field}: callers of a server may not set {refused[0]!r}; they may set {may}"
            raise MoAError(msg)


class ReferencesTransformer(StreamTransformer):
    """Projects a run onto its references: each is there as soon as its proposer has answered, failed ones included.

    Every graph of `create_moa` has it; a graph that embeds one takes it as `compile(transformers=[ReferencesTransformer])`
    or finds it at the subgraph's own run.

    Example:
        ```python
        from langchain_moa import create_moa

        graph = create_moa(["local:smollm2-135m", "local:gemma3-270m"], "local:smollm2-135m", num_layers=1).compile()
        run = graph.stream_events({"messages": [("user", "Why is the sky blue?")]}, version="v3")
        for reference in run.extensions["references"]:
            print(reference["name"], reference["status"], reference["text"])
        ```
    """

    required_stream_modes: ClassVar[tuple[str, ...]] = ("updates",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        """Make the projection of one run.

        Args:
            scope: The namespace of the run; references of other graphs inside it are theirs.
        """
        super().__init__(scope)
        self._references: StreamChannel[Reference] = StreamChannel()

    @override
    def init(self) -> dict[str, Any]:
        return {"references": self._references}

    @override
    def process(self, event: ProtocolEvent) -> bool:
        params = event["params"]
        if event["method"] == "updates" and params["namespace"] == list(self.scope):
            for update in params["data"].values():
                for reference in (update or {}).get("references", ()) if isinstance(update, dict) else ():
                    self._references.push(reference)
        return True
