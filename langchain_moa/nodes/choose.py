"""The node of an aggregation that is a function: it turns the references into the answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from langchain_moa.cleanser import cleanse
from langchain_moa.errors import MoAError, StrategyFailedError, aggregator_failed
from langchain_moa.nodes.calls import context_of, emit, introduce
from langchain_moa.nodes.consultation import Consultation
from langchain_moa.nodes.degradation import tell
from langchain_moa.nodes.outgoing import Outgoing
from langchain_moa.plain_data import plain_data
from langchain_moa.reference import Reference, is_reference, read_answer
from langchain_moa.secrets import describe
from langchain_moa.state import RunState, references_of, turn_of
from langchain_moa.step import steps_of
from langchain_moa.strategies.aggregation import Aggregation
from langchain_moa.strategies.registry import name_of
from langchain_moa.usage import account

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_moa.mixture.mixture import Mixture


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
            msg = f"Choice: reference is {_kind(reference)}; give one of the references, or a copy of one"
            raise TypeError(msg)
        if not isinstance(why, Mapping):
            msg = f"Choice: why is {_kind(why)}; give a mapping, such as {{'score': 3}}"
            raise TypeError(msg)
        if taken := sorted(_TAKEN & why.keys()):
            msg = f"Choice: why has {taken[0]!r}, which says where the answer comes from; give it another name"
            raise ValueError(msg)


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
        consultation, outgoing = self._prepare(input, config)
        messages, references = input["messages"], input.get("merged", [])
        given = {"messages": messages, "references": references}
        with self._failing(input, outgoing):
            result = consultation.run(self._aggregation, messages, references, given=given, name=self._name, outgoing=outgoing)
            found = _read(result, outgoing)
        return self._answered(input, consultation, found, outgoing)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Find the answer without blocking."""
        consultation, outgoing = self._prepare(input, config)
        messages, references = input["messages"], input.get("merged", [])
        given = {"messages": messages, "references": references}
        with self._failing(input, outgoing):
            result = await consultation.arun(
                self._aggregation, messages, references, given=given, name=self._name, outgoing=outgoing
            )
            found = _read(result, outgoing)
        return self._answered(input, consultation, found, outgoing)

    def _prepare(self, state: RunState, config: RunnableConfig | None) -> tuple[Consultation, Outgoing | None]:
        introduce(config, self._mixture)
        context = context_of()
        refuse_unusable(self._aggregation, context.aggregator_kwargs)
        if not state.get("merged"):
            msg = f"the aggregation {self._name!r} has no references to choose from"
            raise MoAError(msg, references=references_of(state))
        emit("aggregating", name=self._name, model=None)
        outgoing = Outgoing(get_runtime().stream_writer) if context.stream_answer else None
        return Consultation(self._mixture, state, config or {}, self._node, parts=0), outgoing

    def _answered(
        self, state: RunState, consultation: Consultation, found: Choice | AIMessage, outgoing: Outgoing | None
    ) -> dict[str, Any]:
        chosen = found if isinstance(found, Choice) else None
        message = _selected(found.reference) if isinstance(found, Choice) else found
        if outgoing is not None and not outgoing.begun:
            outgoing.send(message)
        moa = account(
            references_of(state),
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

    def _origin(self, chosen: Choice) -> dict[str, Any]:
        place = {key: chosen.reference[key] for key in ("layer", "proposer", "name", "model")}
        return {"by": self._name, **place, **plain_data(chosen.why)}

    @contextmanager
    def _failing(self, state: RunState, outgoing: Outgoing | None) -> Iterator[None]:
        """Turn what the aggregation raises into an error that keeps the references that are paid for."""
        try:
            yield
        except GraphBubbleUp:  # an interrupt inside is the graph's business
            raise
        except Exception as error:
            if outgoing is not None:
                outgoing.close()
            references = references_of(state)
            if isinstance(error, StrategyFailedError) and error.references == tuple(references):
                raise  # of this mixture's own prompt, not of another mixture inside
            cleanse(error, self._mixture.secrets)
            reason = describe(error, self._mixture.secrets)
            raise aggregator_failed([(self._name, reason, error)], references) from error


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


def _read(result: Any, outgoing: Outgoing | None) -> Choice | AIMessage:
    """Return the reference or the message that an aggregation has come to.

    Raises:
        TypeError: It is neither.
        ValueError: It says nothing.
    """
    if outgoing is not None and outgoing.begun:
        return outgoing.answer()["message"]
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
    return AIMessage(reference["text"], id=f"{LC_ID_PREFIX}-{uuid4()}", response_metadata={"model_name": reference["model"]})


def _kind(value: Any) -> str:
    return type(value).__name__
