"""The node of an aggregation that is a function: it turns the references into the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from langchain_moa.errors import AggregatorFailedError, MoAError, aggregator_failed
from langchain_moa.nodes.calls import context_of, emit
from langchain_moa.nodes.consultation import Consultation
from langchain_moa.nodes.degradation import tell
from langchain_moa.nodes.outgoing import as_chunk
from langchain_moa.reference import Reference, read_answer
from langchain_moa.secrets import describe
from langchain_moa.state import RunState, turn_of
from langchain_moa.step import steps_of
from langchain_moa.strategies.registry import name_of
from langchain_moa.usage import account

if TYPE_CHECKING:
    from langchain_moa.mixture.mixture import Mixture


@dataclass(frozen=True)
class Choice:
    """A reference that is the answer, and why it is.

    Attributes:
        reference: The reference; the answer is its text, unchanged.
        why: Plain data for `response_metadata["moa"]["selected"]`: votes, a score, why a fallback was needed, ...

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


class Choose(Runnable[RunState, dict[str, Any]]):
    """A node that runs a function from the conversation and the references to the answer."""

    def __init__(self, aggregation: Any, mixture: Mixture, *, node: str) -> None:
        """Make the node.

        Args:
            aggregation: A callable `(messages, references)`, or a Runnable from `{"messages": ..., "references": ...}`, to
                a text, a message, a reference or a `Choice`. A callable may be an inquiry.
            mixture: Whose aggregation it is.
            node: The node's name.
        """
        self._aggregation = aggregation
        self._mixture = mixture
        self._node = node
        self._name = name_of(aggregation)

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Find the answer."""
        consultation = self._prepare(input, config)
        messages, references = input["messages"], input.get("merged", [])
        given = {"messages": messages, "references": references}
        try:
            result = consultation.run(self._aggregation, messages, references, given=given, name=self._name)
        except GraphBubbleUp:  # an interrupt inside is the graph's business
            raise
        except Exception as error:
            raise self._error(error, input) from error
        return self._answered(input, consultation, result)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Find the answer without blocking."""
        consultation = self._prepare(input, config)
        messages, references = input["messages"], input.get("merged", [])
        given = {"messages": messages, "references": references}
        try:
            result = await consultation.arun(self._aggregation, messages, references, given=given, name=self._name)
        except GraphBubbleUp:  # as above
            raise
        except Exception as error:
            raise self._error(error, input) from error
        return self._answered(input, consultation, result)

    def _prepare(self, state: RunState, config: RunnableConfig | None) -> Consultation:
        if unusable := sorted(context_of().aggregator_kwargs):
            msg = (
                f"the aggregation {self._name!r} writes no answer of its own and cannot take {', '.join(unusable)}; "
                "tools and structured output need one that does, such as aggregation='synthesize'"
            )
            raise ValueError(msg)
        if not state.get("merged"):
            msg = f"the aggregation {self._name!r} has no references to choose from"
            raise MoAError(msg, references=self._references(state))
        emit("aggregating", name=self._name, model=None)
        return Consultation(self._mixture, state, config or {}, self._node)

    def _answered(self, state: RunState, consultation: Consultation, result: Any) -> dict[str, Any]:
        chosen = result if isinstance(result, Choice) else Choice(cast("Reference", result)) if _is_reference(result) else None
        message = _selected(chosen.reference) if chosen is not None else self._written(state, result)
        if context_of().stream_answer:
            get_runtime().stream_writer(as_chunk(message))
        moa = account(
            self._references(state),
            None,
            steps=[*steps_of(state.get("steps", []), turn_of(state["messages"])), *consultation.steps],
            stopped=state.get("stopped"),
            passed_on=state.get("passed_on"),
            selected=None if chosen is None else self._origin(chosen),
        )
        tell(moa, min_references=self._mixture.min_references)
        emit("aggregated", name=self._name, model=None, selected=moa.get("selected"))
        answer = message.model_copy(update={"response_metadata": {**message.response_metadata, "moa": moa}})
        return {"messages": [answer], "steps": consultation.steps}

    def _written(self, state: RunState, result: Any) -> AIMessage:
        # A list would be read as a conversation, whose last message is the answer; a function returns one thing.
        answer = read_answer(result if isinstance(result, (str, BaseMessage)) else None)
        failure = answer["failure"]
        if failure is not None and failure["kind"] == "no_text":
            msg = f"it returned {type(result).__name__}; return a text, a message or one of the references"
            error = TypeError(msg)
            raise self._error(error, state) from error
        return answer["message"]

    def _origin(self, chosen: Choice) -> dict[str, Any]:
        place = {key: chosen.reference[key] for key in ("layer", "proposer", "name", "model")}
        return {"by": self._name, **place, **chosen.why}

    def _error(self, error: Exception, state: RunState) -> AggregatorFailedError:
        reason = describe(error)
        return aggregator_failed(error, self._name, f"{reason['kind']}: {reason['message']}", self._references(state))

    def _references(self, state: RunState) -> list[Reference]:
        turn = turn_of(state["messages"])
        return [reference for reference in state.get("references", []) if reference["turn"] == turn]


def _is_reference(result: Any) -> bool:
    return isinstance(result, Mapping) and {"text", "layer", "proposer", "name", "model"} <= result.keys()


def _selected(reference: Reference) -> AIMessage:
    # The prefix says that no provider gave this id, so that whoever runs the graph as a model gives its own.
    return AIMessage(reference["text"], id=f"{LC_ID_PREFIX}-{uuid4()}", response_metadata={"model_name": reference["model"]})
