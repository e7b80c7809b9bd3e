"""Nodes of an aggregation that is a function: `Choose` runs it, `Review` checks an answer that the aggregator wrote."""

from __future__ import annotations

from typing import Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.runtime import get_runtime

from langchain_moa.data.answer import read_answer
from langchain_moa.data.errors import MoAError
from langchain_moa.data.reference import Reference, is_reference
from langchain_moa.data.state import emit, references_of, steps_of
from langchain_moa.data.usage import account
from langchain_moa.data.validation import plain_data
from langchain_moa.engine.aggregate import own_message
from langchain_moa.engine.consultation import Consultation
from langchain_moa.engine.deciding import answers_of_layers, examined
from langchain_moa.engine.degradation import tell
from langchain_moa.engine.node import Node, NodeSettings, context_of
from langchain_moa.engine.progress import RunState
from langchain_moa.engine.streaming import AnswerStream
from langchain_moa.engine.tracing import introduce
from langchain_moa.strategies.aggregation import Choice, Undecided, refuse_unusable
from langchain_moa.strategies.registry import name_of


class Choose(Node):
    """Runs an aggregation that is a function from the conversation and the references to the answer."""

    def __init__(self, aggregation: Any, settings: NodeSettings, *, node: str) -> None:
        """Make the node.

        Args:
            aggregation: A callable `(messages, references)`, or a Runnable that takes `{"messages": ..., "references": ...}`.
                Returns a string, a message, a reference, a `Choice` or `Undecided`. A callable may be an inquiry.
            settings: The settings of the mixture's nodes.
            node: The node's name.
        """
        self._aggregation = aggregation
        self._settings = settings
        self._node = node
        self._name = name_of(aggregation)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Run the aggregation and append its answer to the conversation, or leave the answer to the aggregator."""
        consultation, stream = self._prepare(input, config)
        messages, references = input["messages"], self._references(input)
        given = {"messages": messages, "references": references}
        with consultation.failing(self._name):
            result = await consultation.run(
                self._aggregation, messages, references, given=given, name=self._name, stream=stream
            )
            if isinstance(result, Undecided):
                self._require_way_on()
                notes = plain_data(result.notes)
                emit("undecided", name=self._name, **({"why": notes} if notes else {}))
                return {"steps": consultation.steps, "notes": notes}
            found = _read(result, stream)
        return self._answered(input, consultation, found, stream)

    def _references(self, state: RunState) -> list[Reference]:
        """Return the references to choose from: those of the last merge, or the good ones of all layers."""
        merged = state.get("merged", [])
        # The state may have merged references only, for example if a graph starts at the aggregation.
        return (answers_of_layers(state) or merged) if self._settings.strategies.counts_all else merged

    def _require_way_on(self) -> None:
        if not getattr(self._aggregation, "may_pass_on", False):
            msg = "it returned Undecided, but the graph has no edge for it; give the aggregation `may_pass_on = True`"
            raise TypeError(msg)

    def _prepare(self, state: RunState, config: RunnableConfig | None) -> tuple[Consultation, AnswerStream | None]:
        introduce(config, self._settings.mixture)
        context = context_of()
        refuse_unusable(self._aggregation, context.aggregator_kwargs)
        if not state.get("merged"):
            msg = f"the aggregation {self._name!r} has no references to choose from"
            raise MoAError(msg, references=references_of(state), steps=steps_of(state))
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
            steps=consultation.all_steps,
            stopped=state.get("stopped"),
            passed_on=state.get("passed_on"),
            selected=None if chosen is None else self._origin(chosen),
            notes=self._verdict(chosen),
            adjusted=self._settings.adjusted(context_of()),
        )
        tell(moa, self._settings)
        emit("aggregated", name=self._name, model=None, selected=moa.get("selected"))
        return {"messages": [own_message(message, state["messages"], moa)], "steps": consultation.steps, "notes": None}

    def _verdict(self, chosen: Choice | None) -> dict[str, Any]:
        """Return the result of the aggregation's check for the answer's metadata; empty without a check."""
        if self._settings.strategies.examine is None:
            return {}
        check = None if chosen is None else chosen.reference.get("check")
        return {"verified": check is not None and check["passed"], **({} if check is None else {"check": dict(check)})}

    def _origin(self, chosen: Choice) -> dict[str, Any]:
        place = {key: chosen.reference[key] for key in ("layer", "proposer", "name", "model")}
        return {"by": self._name, **place, **plain_data(chosen.why)}


class Review(Node):
    """Runs the aggregation's check on the aggregator's answer and records the result in the answer's metadata."""

    def __init__(self, settings: NodeSettings) -> None:
        """Make the node.

        Args:
            settings: The settings of the mixture's nodes.
        """
        self._settings = settings

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Check the answer."""
        introduce(config, self._settings.mixture)
        *asked, answer = input["messages"]
        check = await examined(self._settings, asked, str(answer.text))
        passed = check is not None and check["passed"]
        emit("verified", passed=passed, said="" if check is None else check["said"])
        moa = {**answer.response_metadata["moa"], "verified": passed, "check": dict(check or {})}
        return {"messages": [answer.model_copy(update={"response_metadata": {**answer.response_metadata, "moa": moa}})]}


def is_answered(state: RunState) -> bool:
    """Return whether the aggregation gave the answer itself instead of leaving it to the aggregator."""
    return state.get("notes") is None


def _read(result: Any, stream: AnswerStream | None) -> Choice | AIMessage:
    """Return the result of an aggregation as a choice or a message.

    Raises:
        TypeError: The result is not a string, message, reference or choice.
        ValueError: The result is empty.
    """
    if stream is not None and stream.begun:
        return stream.answer()["message"]
    found = Choice(cast("Reference", result)) if is_reference(result) else result
    if isinstance(found, Choice):
        answer = read_answer(found.reference["text"])
    else:
        # `read_answer` would take a list for a conversation and return its last message.
        answer = read_answer(found if isinstance(found, (str, BaseMessage)) else None)
    kind = answer["failure"]["kind"] if answer["failure"] is not None else None
    if kind == "no_text":
        msg = f"it returned {_kind(result)}; return a text, a message or one of the references"
        raise TypeError(msg)
    if kind == "empty":
        msg = "it returned an empty answer; return a text"
        raise ValueError(msg)
    return found if isinstance(found, Choice) else answer["message"]


def _selected(reference: Reference) -> AIMessage:
    # The prefix marks the id as not given by a provider, so a `ChatMoA` that runs the graph replaces it.
    said = {"model_name": reference["model"]}
    usage = reference.get("usage")
    return AIMessage(reference["text"], id=f"{LC_ID_PREFIX}-{uuid4()}", response_metadata=said, usage_metadata=usage)


def _kind(value: Any) -> str:
    return type(value).__name__
