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

# Keys that record where an answer comes from, so `why` cannot use them.
_TAKEN = {"by", "layer", "proposer", "name", "model"}


@dataclass(frozen=True)
class Choice:
    """The reference that an aggregation chooses as the answer, and the reasons.

    Attributes:
        reference: The reference; the answer is its text, unchanged.
        why: Plain data for `response_metadata["moa"]["selected"]`, such as votes, a score, or the reason for a fallback.
            Default: none.

    Raises:
        TypeError: `reference` is not a reference, or `why` is not a mapping.
        ValueError: `why` has a key that is reserved for where the answer comes from: `by`, `layer`, `proposer`, `name` or
            `model`.

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
        """Check the fields, so that mistakes in a user's function are reported where they are made."""
        reference: Any = self.reference
        why: Any = self.why
        if not is_reference(reference):
            msg = f"Choice: reference is {_type_name(reference)}; give one of the references, or a copy of one"
            raise TypeError(msg)
        if not isinstance(why, Mapping):
            msg = f"Choice: why is {_type_name(why)}; give a mapping, such as {{'score': 3}}"
            raise TypeError(msg)
        if taken := sorted(_TAKEN & why.keys()):
            msg = f"Choice: why has {taken[0]!r}, which is reserved for where the answer comes from; use another key"
            raise ValueError(msg)


@dataclass(frozen=True)
class Undecided:
    """Returned by an aggregation that leaves the answer to a model: the first of its `models`, usually the aggregator.

    Set two attributes on an aggregation that can return this: `may_pass_on = True`, so that the graph gets the edge, and
    `models`, with the model that writes the answer; `None` is the aggregator.

    Attributes:
        notes: Plain data for the answer's `response_metadata["moa"]`. Default: none.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.strategies import Undecided


        class ShortestIfShort:
            may_pass_on = True
            models = (None,)

            def __call__(self, messages, references):
                best = min(references, key=lambda reference: len(reference["text"]))
                return best if len(best["text"]) < 200 else Undecided({"undecided": "all are long"})


        moa = ChatMoA.from_preset("local", aggregation=ShortestIfShort())
        ```
    """

    notes: Mapping[str, Any] = field(default_factory=dict)


class AnswerGraph(Protocol):
    """The end of a mixture's graph, after the last merge, to which an aggregation adds its nodes.

    Attributes:
        layers: The proposers of each layer that can be the last.
    """

    @property
    def layers(self) -> Sequence[Sequence[Member]]:
        """The proposers of each layer that can be the last: all layers if the mixture can stop early, else the last one."""
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
        """Add a node whose function can ask models. It yields an `Ask` for each call, which is counted and traced.

        Args:
            name: The node's name.
            work: A function from the state to its update, as an inquiry.
            model: The model that the node asks, for the drawing. Default: the aggregator.
            together: The number of such nodes that run in parallel. `proposer_timeout` and `quorum` apply to them as to the
                proposers of a layer. The return value of `work` is then not an update: any value except `None` counts toward
                the quorum. Default: the node runs alone.
        """
        ...

    def add_aggregator(self, *, prompt: Callable[[MoAState, PlacedPrompt], Prompt] | None = None) -> str:
        """Add the node in which the aggregator writes the answer, with tools, streaming, fallbacks and the account of calls.

        Args:
            prompt: A function from the state and the mixture's prompt to the prompt that shows the references. The mixture's
                prompt has a method `add(messages, text)`, which adds a text next to the references. Default: the mixture's
                prompt.

        Returns:
            The node's name, `aggregator`. The node is already connected to the end of the graph.
        """
        ...

    def add_edge(self, start: str | list[str], end: str) -> None:
        """Add an edge between nodes, as `StateGraph.add_edge` does."""
        ...

    def add_conditional_edges(self, start: str, choose: Callable[[MoAState], str], ends: list[str]) -> None:
        """Add edges of which `choose` selects one, as `StateGraph.add_conditional_edges` does."""
        ...


@runtime_checkable
class Aggregation(Protocol):
    """An aggregation that adds its own nodes between the last merge and the end of the graph.

    To turn references into an answer without your own nodes, write a function instead, from `(messages, references)` to a
    string, a message or one of the references, or a Runnable from `{"messages": ..., "references": ...}` to one of these.

    Nodes find the references in the state's `merged`. The answer is a message that the last node adds to `messages`.

    Attributes:
        models: The models that the aggregation calls: a `Proposer` for each of its own models, `None` for the aggregator.
            Default: none.

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

        An aggregation that asks a model first:

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
        """Add the nodes, the edges between them, and the edges to the end.

        Args:
            graph: The end of the mixture's graph.

        Returns:
            The first node or nodes, to which the graph adds edges.
        """
        ...


def refuse_unusable(aggregation: Any, kwargs: Iterable[str]) -> None:
    """Reject arguments that only an aggregation with an aggregator can use.

    Args:
        aggregation: The aggregation.
        kwargs: The arguments: names of keyword arguments, or descriptions of them.

    Raises:
        ValueError: There are arguments, and the aggregation is a function, which calls no aggregator.
    """
    if isinstance(aggregation, Aggregation) or not (unusable := sorted(kwargs)):
        return
    msg = (
        f"the aggregation {name_of(aggregation)!r} does not write an answer itself and cannot use {', '.join(unusable)}; "
        "for tools and structured output, use one that does, such as aggregation='synthesize'"
    )
    raise ValueError(msg)


def _type_name(value: Any) -> str:
    return type(value).__name__
