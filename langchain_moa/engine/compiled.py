"""The graph classes of a mixture, uncompiled and compiled, and the transformer that streams its references."""

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

# LangGraph's sync executor also uses a thread that waits for the stream's next item.
_SPARE_THREADS = 2


class MoAGraph(StateGraph[MoAState, MoAContext, MoAState, MoAState]):
    """The uncompiled graph of a mixture: a `StateGraph` with defaults for the schemas, concurrency and stream transformers.

    Attributes:
        width: The maximum number of nodes that run at once.
    """

    def __init__(self, *, width: int) -> None:
        """Make an empty graph.

        Args:
            width: The maximum number of nodes that run at once: the proposers of the widest layer.
        """
        super().__init__(RunState, context_schema=MoAContext, input_schema=MoAState, output_schema=MoAState)
        self.width = width

    @override
    def add_node(self, node: Any, action: Any = None, **options: Any) -> Any:
        """Add a node; see `StateGraph.add_node`. Its default input schema leaves out the internal channel of `RunState`."""
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
            checkpointer: See `StateGraph.compile`.
            transformers: Stream transformers in addition to `ReferencesTransformer`, which is always included.
            **options: The other arguments of `StateGraph.compile`.

        Returns:
            The compiled graph. Its default `max_concurrency` lets all proposers of a layer run at once in sync code, where
            LangGraph limits the number of threads. A `max_concurrency` in the config of a call overrides it.
        """
        all_transformers = [ReferencesTransformer, *(transformers or ())]
        graph = super().compile(checkpointer, transformers=all_transformers, **options)
        # Copied as `Pregel.copy` does, but to our class. The internal channel of `RunState` is not streamed.
        parts = {**graph.__dict__, "stream_channels": [*MoAState.__annotations__]}
        return CompiledMoA(**parts).with_config(max_concurrency=self.width + _SPARE_THREADS)

    def _repr_html_(self) -> str | None:
        """Return the drawing of the graph for notebooks."""
        from langchain_moa.drawing.svg import drawing_html

        return drawing_html(self)


class CompiledMoA(CompiledStateGraph[MoAState, MoAContext, MoAState, MoAState]):
    """The compiled graph of a mixture.

    In addition to LangGraph's own graph, it cancels calls when a sync run ends early, limits what callers of a server may set,
    and is displayed in notebooks without a network.
    """

    @override
    def stream(self, *args: Any, **kwargs: Any) -> Any:
        """Stream the graph; see LangGraph's `stream` for the arguments.

        If you close the stream early, or interrupt it or `invoke` with Ctrl-C, the calls in progress are cancelled.
        """
        return leavable(super().stream(*args, **kwargs))

    @override
    async def astream(
        self, input: Any, config: RunnableConfig | None = None, *, context: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Stream the graph; see LangGraph's `astream` for the arguments.

        Raises:
            MoAError: The graph is served by LangGraph's server, and the caller's context sets arguments of model calls other
                than the allowed sampling parameters.
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
        # LangGraph's own method sends the graph to mermaid.ink and fails without a network.
        html = self._repr_html_()
        return {"text/plain": repr(self), **({} if html is None else {"text/html": html})}


# Arguments of model calls that callers of a server may set. None of them selects another model, server or tool.
_OF_CALLERS = {"frequency_penalty", "max_tokens", "presence_penalty", "seed", "stop", "temperature", "top_k", "top_p"}


def _refuse_arguments_of_callers(config: RunnableConfig | None, context: Any) -> None:
    # LangGraph's server sets these keys for every run.
    if not context or not {"assistant_id", "graph_id"} <= ((config or {}).get("configurable") or {}).keys():
        return
    for field in ("model_kwargs", "aggregator_kwargs"):
        given = context.get(field) if isinstance(context, Mapping) else getattr(context, field, None)
        if refused := sorted(set(given or ()) - _OF_CALLERS):
            may = ", ".join(sorted(_OF_CALLERS))
            msg = f"context: {field}: callers of a server may not set {refused[0]!r}; they may set {may}"
            raise MoAError(msg)


class ReferencesTransformer(StreamTransformer):
    """Streams the references of a run as `run.extensions["references"]`, each as soon as its proposer has ended.

    Failed references are included. Graphs of `create_moa` have this transformer. If you embed one in your own graph, compile
    that graph with `compile(transformers=[ReferencesTransformer])`, or read the extension from the subgraph's run.

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
        """Make the transformer of one run.

        Args:
            scope: The namespace of the run. References of nested graphs, which have other namespaces, are ignored.
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
