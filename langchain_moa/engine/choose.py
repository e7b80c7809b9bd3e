"""The node of an aggregation that is a function: it turns the references into the answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from langchain_moa.data.answer import read_answer
from langchain_moa.data.errors import MoAError, StrategyFailedError, aggregator_failed
from langchain_moa.data.redaction import cleanse, describe
from langchain_moa.data.reference import Reference, is_reference, steps_of
from langchain_moa.data.state import emit, references_of, turn_of
from langchain_moa.data.usage import account
from langchain_moa.data.validation import plain_data
from langchain_moa.engine.aggregate import own_message
from langchain_moa.engine.consultation import Consultation
from langchain_moa.engine.degradation import tell
from langchain_moa.engine.node import Node, NodeSettings, context_of, introduce
from langchain_moa.engine.progress import RunState
from langchain_moa.engine.streaming import AnswerStream
from langchain_moa.strategies.aggregation import Choice, refuse_unusable
from langchain_moa.strategies.registry import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class Choose(Node):
    """A node that runs a function from the conversation and the references to the answer."""

    def __init__(self, aggregation: Any, settings: NodeSettings, *, node: str) -> None:
        """Make the node.

        Args:
            aggregation: A callable `(messages, references)`, or a Runnable from `{"messages": ..., "references": ...}`, to
                a text, a message, a reference or a `Choice`. A callable may be an inquiry.
            settings: The settings of the mixture's nodes.
            node: The node's name.
        """
        self._aggregation = aggregation
        self._settings = settings
        self._node = node
        self._name = name_of(aggregation)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Find the answer."""
        consultation, stream = self._prepare(input, config)
        messages, references = input["messages"], input.get("merged", [])
        given = {"messages": messages, "references": references}
        with self._failing(input):
            result = await consultation.run(
                self._aggregation, messages, references, given=given, name=self._name, stream=stream
            )
            found = _read(result, stream)
        return self._answered(input, consultation, found, stream)

    def _prepare(self, state: RunState, config: RunnableConfig | None) -> tuple[Consultation, AnswerStream | None]:
        introduce(config, self._settings)
        context = context_of()
        refuse_unusable(self._aggregation, context.aggregator_kwargs)
        if not state.get("merged"):
            msg = f"the aggregation {self._name!r} has no references to choose from"
            raise MoAError(msg, references=references_of(state))
        emit("aggregating", name=self._name, model=None)
        stream = AnswerStream(get_runtime().stream_writer) if context.stream_answer else None
        return Consultation(self._settings, state, config or {}, self._node, parts=0), stream

    def _answered(
        self, state: RunState, consultation: Consultation, found: Choice | AIMessage, stream: AnswerStream | None
    ) -> dict[str, Any]:
        chosen = found if isinstance(found, Choice) else None
        message = _selected(found.reference) if isinstance(found, Choice) else found
        if stream is not None and not stream.begun:
            stream.send(message)
        moa = account(
            references_of(state),
            None,
            steps=[*steps_of(state.get("steps", []), turn_of(state["messages"])), *consultation.steps],
            stopped=state.get("stopped"),
            passed_on=state.get("passed_on"),
            selected=None if chosen is None else self._origin(chosen),
            adjusted=self._settings.adjusted(context_of()),
        )
        tell(moa, min_references=self._settings.min_references)
        emit("aggregated", name=self._name, model=None, selected=moa.get("selected"))
        return {"messages": [own_message(message, state["messages"], moa)], "steps": consultation.steps}

    def _origin(self, chosen: Choice) -> dict[str, Any]:
        place = {key: chosen.reference[key] for key in ("layer", "proposer", "name", "model")}
        return {"by": self._name, **place, **plain_data(chosen.why)}

    @contextmanager
    def _failing(self, state: RunState) -> Iterator[None]:
        """Turn what the aggregation raises into an error that keeps the references that are paid for."""
        try:
            yield
        except GraphBubbleUp:  # an interrupt inside is the graph's business
            raise
        except Exception as error:
            references = references_of(state)
            if isinstance(error, StrategyFailedError) and error.references == tuple(references):
                raise  # of this mixture's own prompt, not of another mixture inside
            cleanse(error, self._settings.secrets)
            reason = describe(error, self._settings.secrets)
            raise aggregator_failed([(self._name, reason, error)], references) from error


def _read(result: Any, stream: AnswerStream | None) -> Choice | AIMessage:
    """Return the reference or the message that an aggregation has come to.

    Raises:
        TypeError: It is neither.
        ValueError: It says nothing.
    """
    if stream is not None and stream.begun:
        return stream.answer()["message"]
    found = Choice(cast("Reference", result)) if is_reference(result) else result
    if isinstance(found, Choice):
        answer = read_answer(found.reference["text"])
    else:
        # A list would be read as a conversation, whose last message is the answer; a function returns one thing.
        answer = read_answer(found if isinstance(found, (str, BaseMessage)) else None)
    kind = answer["failure"]["kind"] if answer["failure"] is not None else None
    if kind == "no_text":
        msg = f"it returned {_kind(result)}; return a text, a message or one of the references"
        raise TypeError(msg)
    if kind == "empty":
        msg = "it returned an answer that says nothing"
        raise ValueError(msg)
    return found if isinstance(found, Choice) else answer["message"]


def _selected(reference: Reference) -> AIMessage:
    # The prefix says that no provider gave this id, so that whoever runs the graph as a model gives its own.
    said = {"model_name": reference["model"]}
    usage = reference.get("usage")
    return AIMessage(reference["text"], id=f"{LC_ID_PREFIX}-{uuid4()}", response_metadata=said, usage_metadata=usage)


def _kind(value: Any) -> str:
    return type(value).__name__
