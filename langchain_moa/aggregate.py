"""The aggregator node: one model reads the last layer's references and writes the final answer."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.pregel.protocol import PregelProtocol
from langgraph.runtime import get_runtime

from langchain_moa.calls import called, context_of, emit
from langchain_moa.conversation import without_tool_messages
from langchain_moa.errors import AggregatorFailedError, aggregator_failed
from langchain_moa.prompts import Prompt, add_system_text
from langchain_moa.reference import Answer, read_answer
from langchain_moa.secrets import describe
from langchain_moa.state import MoAContext, MoAState, turn_of
from langchain_moa.usage import account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage
    from langgraph.types import StreamWriter

    from langchain_moa.member import Member


class _Call(NamedTuple):
    messages: list[BaseMessage]
    config: RunnableConfig
    kwargs: dict[str, Any]
    streams: bool
    context: MoAContext
    writer: StreamWriter
    started: float


class Aggregate(Runnable[MoAState, dict[str, Any]]):
    """A node that asks the aggregator and appends its answer to the conversation."""

    def __init__(self, member: Member, *, prompt: Prompt, call_kwargs: Mapping[str, Any]) -> None:
        """Make the node.

        Args:
            member: Who writes the answer.
            prompt: How the references are shown.
            call_kwargs: The mixture's parameters for every model call.
        """
        self._member = member
        self._prompt = prompt
        self._call_kwargs = call_kwargs

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the aggregator."""
        call = self._prepare(input, config)
        try:
            answer = self._stream(call) if call.streams else self._member.invoke(call.messages, call.config, call.kwargs)
        except GraphBubbleUp:  # an interrupt inside the aggregator is the graph's business
            raise
        except Exception as error:
            raise self._error(error, input) from error
        return self._answered(input, call, answer)

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the aggregator without blocking."""
        call = self._prepare(input, config)
        try:
            answer = await (
                self._astream(call) if call.streams else self._member.ainvoke(call.messages, call.config, call.kwargs)
            )
        except GraphBubbleUp:  # as above
            raise
        except Exception as error:
            raise self._error(error, input) from error
        return self._answered(input, call, answer)

    def _prepare(self, state: MoAState, config: RunnableConfig | None) -> _Call:
        context = context_of()
        member = self._member
        messages = cast("list[BaseMessage]", state["messages"])
        kwargs = member.kwargs(member.defaults(self._call_kwargs), context.model_kwargs, context.aggregator_kwargs)
        if not (kwargs.get("tools") or member.has_tools):
            messages = without_tool_messages(messages)
        if member.spec.system_prompt:
            messages = add_system_text(messages, member.spec.system_prompt)
        messages = self._prompt(messages, state.get("merged", []))
        emit("aggregating", name=member.name, model=member.id)
        # A compiled graph streams states, not an answer; its answer is sent whole.
        streams = context.stream_answer and not isinstance(member.runnable, PregelProtocol)
        return _Call(
            messages,
            called(config, f"aggregator: {member.name}"),
            kwargs,
            streams,
            context,
            get_runtime().stream_writer,
            perf_counter(),
        )

    def _stream(self, call: _Call) -> Answer:
        chunks: list[AIMessageChunk] = []
        for item in self._member.runnable.stream(self._member.input(call.messages), call.config, **call.kwargs):
            chunks.append(as_chunk(item))
            call.writer(chunks[-1])
            if call.context.abandoned.is_set():
                # Leaving the loop closes the provider's stream: what nobody reads is not paid for.
                break
        return _joined(chunks)

    async def _astream(self, call: _Call) -> Answer:
        chunks: list[AIMessageChunk] = []
        async for item in self._member.runnable.astream(self._member.input(call.messages), call.config, **call.kwargs):
            chunks.append(as_chunk(item))
            call.writer(chunks[-1])
        return _joined(chunks)

    def _answered(self, state: MoAState, call: _Call, answer: Answer) -> dict[str, Any]:
        seconds = round(perf_counter() - call.started, 6)
        message = answer["message"]
        place = {"name": self._member.name, "model": self._member.id}
        aggregated = {**place, "status": "ok", "seconds": seconds, "usage": answer["usage"]}
        moa = account(self._references(state), aggregated, stopped=state.get("stopped"))
        emit("aggregated", **place, seconds=seconds)
        return {"messages": [message.model_copy(update={"response_metadata": {**message.response_metadata, "moa": moa}})]}

    def _error(self, error: Exception, state: MoAState) -> AggregatorFailedError:
        reason = describe(error, self._member.secrets)
        return aggregator_failed(error, self._member.id, f"{reason['kind']}: {reason['message']}", self._references(state))

    def _references(self, state: MoAState) -> list[Any]:
        turn = turn_of(state["messages"])
        return [reference for reference in state.get("references", []) if reference["turn"] == turn]


def as_chunk(item: Any) -> AIMessageChunk:
    """Return a piece of a Runnable's stream, text or message or chunk, as a message chunk."""
    if isinstance(item, AIMessageChunk):
        return item
    message = read_answer(item)["message"]
    return AIMessageChunk(**message.model_dump(exclude={"type"}))


def _joined(chunks: list[AIMessageChunk]) -> Answer:
    if not chunks:
        return read_answer("")
    return read_answer(message_chunk_to_message(add_ai_message_chunks(*chunks)))
