"""The state of a mixture's graph, and the context of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from langchain_core.messages import AnyMessage, BaseMessage
from langgraph.graph.message import add_messages
from langgraph.runtime import get_runtime
from typing_extensions import TypedDict

from langchain_moa.data.reference import Reference, Step, merge_references, merge_steps, replace_merged

if TYPE_CHECKING:
    from collections.abc import Mapping


def _add_messages(left: Any, right: Any) -> Any:
    """Merge messages as `add_messages` does, without setting ids on the caller's objects."""
    items = right if isinstance(right, list) else [right]
    copies = [item.model_copy() if isinstance(item, BaseMessage) and item.id is None else item for item in items]
    return add_messages(left, copies)


class MoAState(TypedDict):
    """The state of a mixture's graph.

    Attributes:
        messages: The conversation; the answer is its last message.
        references: All references of this turn, including failed ones, by layer and proposer.
        merged: The references that the next layer, or the aggregator, reads: those that the last merge node kept.
        stopped: Why the remaining layers were skipped; `None` if they were not.
        passed_on: For each closed layer, the proposers whose references are read, in order; `None` if there are no filters.
        steps: The calls of this turn other than the proposers' and the aggregator's: rankers, moderators, ...
        notes: Results of the aggregation before the answer, such as an undecided vote, for `response_metadata["moa"]`; `None`
            if there are none.

    Example:
        ```python
        from langgraph.graph import END, START, StateGraph

        from langchain_moa import Mixture, MoAState, create_moa

        builder = StateGraph(MoAState)
        builder.add_node("mixture", create_moa(Mixture.from_preset("local")).compile())
        builder.add_edge(START, "mixture")
        builder.add_edge("mixture", END)
        state = builder.compile().invoke({"messages": [("user", "Why is the sky blue?")]})
        print(len(state["references"]), state["messages"][-1].text)
        ```
    """

    messages: Annotated[list[AnyMessage], _add_messages]
    references: NotRequired[Annotated[list[Reference], merge_references]]
    merged: NotRequired[Annotated[list[Reference], replace_merged]]
    stopped: NotRequired[str | None]
    passed_on: NotRequired[list[list[int]] | None]
    steps: NotRequired[Annotated[list[Step], merge_steps]]
    notes: NotRequired[dict[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class MoAContext:
    """The arguments of one run of the graph. They are not part of the state and are not stored in checkpoints.

    Attributes:
        model_kwargs: Keyword arguments of every model call (`stop`, `temperature`, ...); they override the mixture's.
        aggregator_kwargs: Keyword arguments of the aggregator's call only (`tools`, `response_format`, ...).
        stream_answer: Whether the aggregator's chunks are written to the graph's `custom` stream.

    Example:
        ```python
        from langchain_moa import Mixture, MoAContext, create_moa

        graph = create_moa(Mixture.from_preset("local")).compile()
        graph.invoke({"messages": [("user", "Why is the sky blue?")]}, context=MoAContext(model_kwargs={"temperature": 0}))
        ```
    """

    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    aggregator_kwargs: Mapping[str, Any] = field(default_factory=dict)
    stream_answer: bool = False


def references_of(state: MoAState) -> list[Reference]:
    """Return all references of the current turn, including failed ones."""
    turn = turn_of(state["messages"])
    return [reference for reference in state.get("references", []) if reference["turn"] == turn]


def steps_of(state: MoAState) -> list[Step]:
    """Return the steps of the current turn so far."""
    turn = turn_of(state["messages"])
    return [step for step in state.get("steps", []) if step["turn"] == turn]


def turn_of(messages: list[AnyMessage]) -> str:
    """Return the id of the current turn: the id of the last message."""
    return (messages[-1].id or "") if messages else ""


def emit(event: str, **data: Any) -> None:
    """Write an event to the graph's `custom` stream: a dict with the event's name under `moa` and the data."""
    get_runtime().stream_writer({"moa": event, **data})
