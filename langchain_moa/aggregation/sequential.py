"""Sequential: the references are synthesized one window at a time, so that any number of them fits a small context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field
from typing_extensions import override

from langchain_moa.data.reference import Reference
from langchain_moa.data.state import MoAState, steps_of, turn_of
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.inquiry import Ask, Inquiry
from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from langchain_moa.members.member import Member
    from langchain_moa.strategies.aggregation import AnswerGraph

__all__ = ["Sequential"]

_NODE = "window"

# After this many failed calls in a row, no further window is tried.
_PATIENCE = 2


@strategy
class Sequential(Aggregation):
    """Self-MoA-Seq (arXiv 2502.00674): a sliding window over the references, which carries the running synthesis along.

    The aggregator synthesizes the first `window` references. This synthesis and the next `window - 1` references are the next
    window, and so on. For the last window, the aggregator streams and has the tools, as usual. If all references fit into one
    window, this is the same as `synthesize`.

    If the call for a window fails, its first text (the running synthesis, after the first window) stays, and its other
    references move to the end. If the next call fails as well, the aggregator reads all remaining references at once, cut to
    fit its context window.

    Attributes:
        window: How many texts the aggregator reads at once, at least 2. Default: 6.

    Example:
        ```python
        from langchain_moa import ChatMoA

        moa = ChatMoA.self_moa("local:smollm2-135m", samples=12, aggregation={"sequential": {"window": 4}})
        ```
    """

    window: int = Field(default=6, ge=2)

    models = (None,)

    @override
    def add_to(self, graph: AnswerGraph) -> str:
        member = graph.member(None)

        def work(state: MoAState) -> Inquiry[dict[str, Any]]:
            return self._slide(state, member)

        graph.add_inquiry(_NODE, work)
        aggregator = graph.add_aggregator()
        graph.add_conditional_edges(_NODE, lambda state: _NODE if self._goes_on(state) else aggregator, [_NODE, aggregator])
        return _NODE

    def _goes_on(self, state: MoAState) -> bool:
        last = [step["status"] for step in steps_of(state) if step["node"] == _NODE][-_PATIENCE:]
        is_down = last == ["failed"] * _PATIENCE
        return len(state.get("merged", [])) > self.window and not is_down

    def _slide(self, state: MoAState, member: Member) -> Inquiry[dict[str, Any]]:
        references = state.get("merged", [])
        if len(references) <= self.window:
            return {}
        inside, ahead = references[: self.window], references[self.window :]
        answer = yield Ask(messages=state["messages"], references=inside, name="running synthesis", drafts=True)
        if answer["failure"] is not None:
            return {"merged": [inside[0], *ahead, *inside[1:]]}
        synthesis = Reference(
            turn=turn_of(state["messages"]),
            layer=inside[-1]["layer"],
            proposer=0,  # written by the aggregator, not by a proposer
            name=member.name,
            model=member.id,
            text=answer["text"],
            status="ok",
            error=None,
            usage=None,  # counted in the steps
            seconds=0.0,
        )
        return {"merged": [synthesis, *ahead]}
