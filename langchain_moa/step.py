"""Steps: the calls of an answer that are neither a proposer's nor the aggregator's, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NotRequired

from langchain_core.messages.ai import UsageMetadata
from typing_extensions import TypedDict

from langchain_moa.reference import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence


class Step(TypedDict):
    """One call of a ranker, an analyst, a moderator, or whatever else a strategy asks.

    Attributes:
        turn: Id of the message that is being answered; steps of an older turn are dropped when a new one begins.
        node: The node of the graph that made the call.
        name: What was asked: `ranker`, `moderator`, ..., or the model's id.
        model: The model id.
        text: What it said; empty where it failed.
        status: `ok` or `failed`.
        error: The failure, `None` where the status is `ok`.
        usage: Tokens as the provider counted them, `None` where it did not say.
        cost_usd: US dollars, where the answer says who has written it and the price is known.
        seconds: Wall-clock time of the call.
        trimmed: What of its prompt had to be left out to fit into its context window, in words; only where something had.

    Example:
        ```python
        from langchain_moa import Mixture, create_moa

        graph = create_moa(Mixture.from_preset("local", aggregation="select")).compile()
        state = graph.invoke({"messages": [("user", "Why is the sky blue?")]})
        for step in state["steps"]:
            print(step["node"], step["name"], step["status"], step["text"])
        ```
    """

    turn: str
    node: str
    name: str
    model: str
    text: str
    status: Literal["ok", "failed"]
    error: Failure | None
    usage: UsageMetadata | None
    cost_usd: NotRequired[float | None]
    seconds: float
    trimmed: NotRequired[list[str]]


def merge_steps(left: list[Step] | None, right: list[Step] | None) -> list[Step]:
    """Reduce to one list in the order of the calls; the first step of a new turn drops those of the old one.

    Args:
        left: The steps in the state.
        right: The steps that a node writes.

    Returns:
        The new list; neither argument is changed.
    """
    if not right:
        return left or []
    turn = right[-1]["turn"]
    return [*(step for step in left or [] if step["turn"] == turn), *right]


def steps_of(steps: Sequence[Step], turn: str) -> list[Step]:
    """Return the steps of one turn."""
    return [step for step in steps if step["turn"] == turn]
