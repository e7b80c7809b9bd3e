"""The `StateGraph` of a mixture: it compiles to a graph whose proposers all run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import StateGraph
from typing_extensions import override

from langchain_moa.graph.compiled import CompiledMoA
from langchain_moa.graph.projection import ReferencesTransformer
from langchain_moa.state import MoAContext, MoAState, RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langgraph.graph.state import CompiledStateGraph

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
    def compile(
        self,
        checkpointer: Any = None,
        *,
        transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None = None,
        **options: Any,
    ) -> CompiledStateGraph[MoAState, MoAContext, MoAState, MoAState]:
        """Compile the graph.

        Args:
            checkpointer: As `StateGraph.compile` takes it.
            transformers: Stream transformers, beside `ReferencesTransformer`, which every mixture has.
            **options: The other arguments of `StateGraph.compile`.

        Returns:
            The compiled graph. In sync code, as many proposers run at once as a layer has: by default LangGraph starts no
            more threads than the machine has cores, and four. A `max_concurrency` in the call's config goes before.
        """
        all_transformers = [ReferencesTransformer, *(transformers or ())]
        graph = super().compile(checkpointer, transformers=all_transformers, **options)
        # LangGraph makes the object itself, and takes no class of ours for it.
        graph.__class__ = CompiledMoA
        # What the nodes of a run share beyond its state is nobody else's business.
        graph.stream_channels = [*MoAState.__annotations__]
        return graph.with_config(max_concurrency=self.width + _SPARE_THREADS)

    def _repr_html_(self) -> str | None:
        """Show the graph in a notebook."""
        from langchain_moa.drawing.notebook import drawing_html

        return drawing_html(self)
