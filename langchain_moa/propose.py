"""The proposer node: one proposer of one layer answers, seeing the previous layer's references."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.calls import called, context_of, emit
from langchain_moa.conversation import for_proposer
from langchain_moa.prompts import Prompt, add_system_text
from langchain_moa.secrets import describe
from langchain_moa.state import MoAState, turn_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage

    from langchain_moa.member import Member
    from langchain_moa.reference import Answer, Failure, Reference


class _Call(NamedTuple):
    messages: list[BaseMessage]
    config: RunnableConfig
    kwargs: dict[str, Any]
    started: float


class Propose(Runnable[MoAState, dict[str, Any]]):
    """A node that asks one proposer and writes its reference; it never fails the graph.

    What a proposer raises becomes a failed reference, so that the others' answers, already paid for, are not lost.
    LangGraph's own `error_handler` does not serve here: behind a join over several nodes it never releases the join.
    """

    def __init__(self, member: Member, *, layer: int, position: int, prompt: Prompt, call_kwargs: Mapping[str, Any]) -> None:
        """Make the node.

        Args:
            member: Who answers.
            layer: The layer's number, from 1.
            position: The proposer's place in the layer, from 1.
            prompt: How the previous layer's references are shown; the first layer has none.
            call_kwargs: The mixture's parameters for every model call.
        """
        self._member = member
        self._layer = layer
        self._position = position
        self._prompt = prompt
        self._call_kwargs = call_kwargs

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the proposer."""
        call = self._prepare(input, config)
        try:
            answer = self._member.invoke(call.messages, call.config, call.kwargs)
        except GraphBubbleUp:  # an interrupt inside a proposer is the graph's business, not a failure
            raise
        except Exception as error:  # noqa: BLE001  # whatever a provider raises is its failure, not the mixture's
            return self._failed(input, call, describe(error, self._member.secrets))
        return self._answered(input, call, answer)

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the proposer without blocking."""
        call = self._prepare(input, config)
        try:
            answer = await self._member.ainvoke(call.messages, call.config, call.kwargs)
        except GraphBubbleUp:  # as above
            raise
        except Exception as error:  # noqa: BLE001  # as above
            return self._failed(input, call, describe(error, self._member.secrets))
        return self._answered(input, call, answer)

    def _prepare(self, state: MoAState, config: RunnableConfig | None) -> _Call:
        context = context_of()
        member = self._member
        profile = member.chat_model.profile if member.chat_model is not None else None
        tools = context.aggregator_kwargs.get("tools") or ()
        messages = for_proposer(cast("list[BaseMessage]", state["messages"]), tools=tools, profile=profile)
        if member.spec.system_prompt:
            messages = add_system_text(messages, member.spec.system_prompt)
        if self._layer > 1:
            messages = self._prompt(messages, state.get("merged", []))
        emit("proposing", layer=self._layer, proposer=self._position, name=member.name, model=member.id)
        kwargs = member.kwargs(member.defaults(self._call_kwargs), context.model_kwargs)
        return _Call(messages, called(config, f"layer {self._layer}: {member.name}"), kwargs, perf_counter())

    def _answered(self, state: MoAState, call: _Call, answer: Answer) -> dict[str, Any]:
        if (failure := answer["failure"]) is not None:
            return self._failed(state, call, failure, answer)
        return self._write(state, call, text=answer["text"], status="ok", error=None, usage=answer["usage"])

    def _failed(self, state: MoAState, call: _Call, failure: Failure, answer: Answer | None = None) -> dict[str, Any]:
        usage = answer["usage"] if answer is not None else None
        return self._write(state, call, text="", status="failed", error=failure, usage=usage)

    def _write(self, state: MoAState, call: _Call, **outcome: Any) -> dict[str, Any]:
        seconds = round(perf_counter() - call.started, 6)
        place = {"layer": self._layer, "proposer": self._position, "name": self._member.name, "model": self._member.id}
        reference = cast("Reference", {"turn": turn_of(state["messages"]), **place, **outcome, "seconds": seconds})
        emit("proposed", **place, status=reference["status"], error=reference["error"], seconds=seconds)
        return {"references": [reference]}
