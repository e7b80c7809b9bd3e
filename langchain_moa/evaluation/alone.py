"""One member of a mixture by itself: what it would answer if there were no mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph

from langchain_moa.nodes.aggregate import AGGREGATOR, Aggregate
from langchain_moa.state import MoAContext, MoAState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture


@dataclass(frozen=True, kw_only=True)
class MemberName:
    """Which member of a mixture is meant.

    Attributes:
        text: `aggregator`, a proposer's number in the first layer, its name, or its model id.
    """

    text: str

    def find(self, mixture: Mixture) -> Member:
        """Return the member.

        Args:
            mixture: Whose member it is.

        Raises:
            ValueError: There is none, or two different ones have this name.
        """
        members = mixture.members
        if self.text == AGGREGATOR:
            if mixture.aggregator is None:
                msg = "the mixture has no aggregator to ask alone"
                raise ValueError(msg)
            return members.aggregator
        first = members.layers[0]
        if self.text.isdecimal() and 1 <= int(self.text) <= len(first):
            return first[int(self.text) - 1]
        found = [member for layer in members.layers for member in layer if self.text in (member.name, member.id)]
        if not found:
            numbered = [f"{number} ({member.name})" for number, member in enumerate(first, start=1)]
            msg = f"{self.text!r} is no member; there are {', '.join(numbered)} and {AGGREGATOR}"
            raise ValueError(msg)
        if any(member.describe() != found[0].describe() for member in found):
            msg = f"several members are called {self.text!r}; name one by its number, 1 to {len(first)}"
            raise ValueError(msg)
        return found[0]


def alone(mixture: Mixture, member: Member) -> StateGraph[MoAState, MoAContext]:
    """Return the graph of one member, not yet compiled; its answer has the same account as a mixture's.

    Args:
        mixture: Whose parameters (`temperature`, `max_tokens`, ...) it is called with.
        member: Who answers.
    """
    builder: StateGraph[MoAState, MoAContext] = StateGraph(MoAState, context_schema=MoAContext)
    # It is called as an aggregator is, with tools of its own, but has nothing to read.
    builder.add_node(AGGREGATOR, Aggregate(member, prompt=_nothing, call_kwargs=mixture.call_kwargs))
    builder.add_edge(START, AGGREGATOR)
    builder.add_edge(AGGREGATOR, END)
    return builder


def _nothing(messages: list[BaseMessage], references: Sequence[Any]) -> list[BaseMessage]:  # noqa: ARG001  # a prompt's shape
    return messages
