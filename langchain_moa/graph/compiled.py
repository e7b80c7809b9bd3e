"""The compiled graph of a mixture: it shows itself in a notebook without asking a web service."""

from __future__ import annotations

from typing import Any

from langgraph.graph.state import CompiledStateGraph
from typing_extensions import override

from langchain_moa.state import MoAContext, MoAState


class CompiledMoA(CompiledStateGraph[MoAState, MoAContext, MoAState, MoAState]):
    """A mixture's compiled graph: LangGraph's own in every way but how it looks in a notebook."""

    def _repr_html_(self) -> str | None:
        from langchain_moa.drawing.notebook import drawing_html

        return drawing_html(self)

    @override
    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # LangGraph's own sends the graph to mermaid.ink, and fails where that cannot be reached.
        html = self._repr_html_()
        return {"text/plain": repr(self), **({} if html is None else {"text/html": html})}
