"""The compiled graph of a mixture: its sync runs can be left, and it shows itself without asking a web service."""

from __future__ import annotations

from typing import Any

from langgraph.graph.state import CompiledStateGraph
from typing_extensions import override

from langchain_moa.resilience.foreground import leavable
from langchain_moa.state import MoAContext, MoAState


class CompiledMoA(CompiledStateGraph[MoAState, MoAContext, MoAState, MoAState]):
    """A mixture's compiled graph: LangGraph's own but for how sync runs end, and how it looks in a notebook."""

    @override
    def stream(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph step by step; the arguments are those of LangGraph.

        Whoever leaves the stream, or this and `invoke` by Ctrl-C, does not wait for the calls under way; no other is begun.
        """
        return leavable(super().stream(*args, **kwargs))

    def _repr_html_(self) -> str | None:
        from langchain_moa.drawing.notebook import drawing_html

        return drawing_html(self)

    @override
    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # LangGraph's own sends the graph to mermaid.ink, and fails where that cannot be reached.
        html = self._repr_html_()
        return {"text/plain": repr(self), **({} if html is None else {"text/html": html})}
