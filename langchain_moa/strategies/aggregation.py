"""Aggregations: how the last references become the answer, by a function or by nodes of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from langchain_moa.data.reference import Reference, is_reference
from langchain_moa.strategies.registry import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langchain_moa.data.state import MoAState
    from langchain_moa.members.member import Member
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.prompting.prompts import PlacedPrompt, Prompt
    from langchain_moa.strategies.inquiry import Inquiry

# Where an answer comes from, which its reasons cannot say otherwise.
_TAKEN = {"by", "layer", "proposer", "name", "model"}


@dataclass(frozen=True)
class Choice:
    """A reference that is the answer, and why it is.

    Attributes:
        reference: The reference; the answer is its text, unchanged.
        why: Plain data for `response_metadata["moa"]["selected"]`: votes, a score, why a fallback was needed, ...

    Raises:
        TypeError: `reference` is none, or `why` is no mapping.
        ValueError: `why` has one of the names that say where the answer comes from.

    Example:
        ```python
        from langchain_moa import ChatMoA, Choice


        def shortest(messages, references):
            best = min(references, key=lambda reference: len(reference["text"]))
            return Choice(best, {"length": len(best["text"])})


        moa = ChatMoA.from_preset("local", aggregation=shortest)
        print(moa.invoke("Why is the sky blue?").response_metadata["moa"]["selected"])
        ```
    """

    reference: Reference
    why: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what a user's function has put together, so that a mistake is named where it is made."""
        reference: Any = self.reference
        why: Any = self.why
        if not is_reference(reference):
            msg = f"Choice: reference is {_type_name(reference)}; give one of the references, or a copy of one"
            raise TypeError(msg)
        if not isinstance(why, Mapping):
            msg = f"Choice: why is {_type_name(why)}; give a mapping, such as {{'score': 3}}"
            raise TypeError(msg)
        if taken := sorted(_TAKEN & why.keys()):
            msg = f"Choice: why has {taken[0]!r}, which says where the answer comes from; give it another name"
            raise ValueError(msg)


class AnswerGraph(Protocol):
    """The end of a mixture's graph, behind the last merge: what an aggregation may know of it, and add to it.

    Attributes:
        layers: The proposers of each layer that may turn out to be the last.
    """

    @property
    def layers(self) -> Sequence[Sequence[Member]]:
        """The proposers of each layer that may turn out to be the last; with an early exit, that is any layer."""
        ...

    def member(self, model: Proposer | None) -> Member:
        """Return the member for one of the aggregation's `models`; `None` is the aggregator."""
        ...

    def add_node(self, name: str, action: Callable[[MoAState], Any]) -> None:
        """Add a node that calls no model: a function from the state to its update.

        Args:
            name: The node's name.
            action: The function.
        """
        ...

    def add_inquiry(
        self,
        name: str,
        work: Callable[[MoAState], Inquiry[Any] | Any],
        *,
        model: Proposer | None = None,
        together: int | None = None,
    ) -> None:
        """Add a node whose function may ask models: it yields an `Ask` for each call, which is counted and traced.

        Args:
            name: The node's name.
            work: From the state to its update, as an inquiry.
            model: Whom it asks, for the drawing. Default: the aggregator.
            together: How many such nodes run in parallel. `proposer_timeout` and `quorum` hold for them as for the proposers
                of a layer, and what the work returns is no update: anything but `None` counts for the quorum. Default: the
                node runs alone.
        """
        ...

    def add_aggregator(self, *, prompt: Callable[[MoAState, PlacedPrompt], Prompt] | None = None) -> str:
        """Add the node that has the aggregator write the answer, with tools, streaming, fallbacks and the account of all calls.

        Args:
            prompt: From the state and the mixture's prompt to the prompt that shows the references. The mixture's prompt has
                a method `add(messages, text)`, which adds a text where the references stand. Default: the mixture's prompt.

        Returns:
            The node's name, `aggregator`; it leads to the end.
        """
        ...

    def add_edge(self, start: str | list[str], end: str) -> None:
        """Add an edge between nodes, as `StateGraph.add_edge` does."""
        ...

    def add_conditional_edges(self, start: str, choose: Callable[[MoAState], str], ends: list[str]) -> None:
        """Add edges of which one is taken, as `StateGraph.add_conditional_edges` does."""
        ...


@runtime_checkable
class Aggregation(Protocol):
    """An aggregation with nodes of its own: everything between the last merge and the end of the graph.

    One that only has to turn references into an answer is simpler written as a function, `(messages, references)` to a text,
    a message or one of the references, or as a Runnable from `{"messages": ..., "references": ...}` to one of these.

    A node finds the references in the state's `merged`. The answer is a message that the last node adds to `messages`.

    Attributes:
        models: The models that it calls: a `Proposer` for each of its own, `None` for the aggregator. Default: none.

    Example:
        ```python
        from langchain_moa import ChatMoA


        class LongestFirst:
            models = (None,)

            def add_to(self, graph):
                graph.add_node("longest_first", self._sort)
                graph.add_edge("longest_first", graph.add_aggregator())
                return "longest_first"

            def _sort(self, state):
                return {"merged": sorted(state["merged"], key=lambda each: -len(each["text"]))}


        moa = ChatMoA.from_preset("local", aggregation=LongestFirst())
        print(moa.invoke("Why is the sky blue?").text)
        ```

        One that asks a model first:

        ```python
        from langchain_core.messages import HumanMessage

        from langchain_moa import ChatMoA
        from langchain_moa.strategies import Ask


        class TranslatedFirst:
            models = (None,)

            def add_to(self, graph):
                graph.add_inquiry("translate", self._translate)
                graph.add_edge("translate", graph.add_aggregator())
                return "translate"

            def _translate(self, state):
                translated = []
                for reference in state["merged"]:
                    messages = [HumanMessage(f"Translate into English: {reference['text']}")]
                    answer = yield Ask(messages=messages, name="translator")
                    translated.append({**reference, "text": answer["text"] or reference["text"]})
                return {"merged": translated}


        moa = ChatMoA.from_preset("local", aggregation=TranslatedFirst())
        print(moa.invoke("Why is the sky blue?").text)
        ```
    """

    def add_to(self, graph: AnswerGraph) -> str | Sequence[str]:
        """Add the nodes, and the edges between them and to the end.

        Args:
            graph: The end of the mixture's graph.

        Returns:
            The node, or the nodes, that read the references first; the graph adds the edges to them.
        """
        ...


def refuse_unusable(aggregation: Any, kwargs: Iterable[str]) -> None:
    """Refuse what only an aggregator that writes can take.

    Args:
        aggregation: The aggregation.
        kwargs: What it is to take: the names of keyword arguments, or words for them.

    Raises:
        ValueError: There is any, and the aggregation is a function, which writes nothing.
    """
    if isinstance(aggregation, Aggregation) or not (unusable := sorted(kwargs)):
        return
    msg = (
        f"the aggregation {name_of(aggregation)!r} writes no answer of its own and cannot take {', '.join(unusable)}; "
        "tools and structured output need one that does, such as aggregation='synthesize'"
    )
    raise ValueError(msg)


def _type_name(value: Any) -> str:
    return type(value).__name__
