"""The aggregator node: a model reads the last layer's references and writes the final answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langchain_core.utils.utils import LC_ID_PREFIX
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from langchain_moa._compat import is_run_id
from langchain_moa.data.answer import has_no_end
from langchain_moa.data.errors import aggregator_failed, paid_for, was_sent
from langchain_moa.data.finish_reasons import is_cut
from langchain_moa.data.redaction import cleanse, describe
from langchain_moa.data.reference import Failure, Step
from langchain_moa.data.state import emit, references_of, steps_of, turn_of
from langchain_moa.data.usage import Paid, account
from langchain_moa.engine.degradation import tell
from langchain_moa.engine.node import Node, NodeSettings, context_of, secrets_of_call, share_of, shown
from langchain_moa.engine.progress import RunState
from langchain_moa.engine.streaming import AnswerStream
from langchain_moa.engine.tracing import call_traced, called, introduce
from langchain_moa.limits.deadline import Limit
from langchain_moa.limits.retry import retrying
from langchain_moa.members.binding import kwargs_for_fallback
from langchain_moa.members.conversation import for_aggregator
from langchain_moa.members.history import author_of
from langchain_moa.members.parameters import COMMON
from langchain_moa.prompting.place import add_system_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_moa.data.answer import Answer
    from langchain_moa.data.errors import AggregatorFailedError
    from langchain_moa.data.reference import Reference
    from langchain_moa.members.member import Member
    from langchain_moa.prompting.prompts import PlacedPrompt, Prompt


AGGREGATOR = "aggregator"
"""The name of the aggregator node."""


# Failure kinds for which the next fallback is called. A refusal is passed on as an answer.
_NO_ANSWER = {"empty", "no_text", "content_filter", "tool_call_only"}


class Attempt(NamedTuple):
    """A prepared call of the aggregator or one of its fallbacks.

    Attributes:
        member: The member to call.
        messages: The messages to send.
        trimmed: Descriptions of what was left out to fit the context window.
        config: The config of the call.
        kwargs: The keyword arguments of the call.
        may_call: Whether a tool call counts as an answer.
        stream: Receives the chunks of the answer; `None` if the call does not stream.
        limit: Time limit of the call, or `None`.
        is_last: Whether no fallback is left.
        began: Start of the call, on the clock of `time.perf_counter`.
    """

    member: Member
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    may_call: bool
    stream: AnswerStream | None
    limit: Limit | None
    is_last: bool
    began: float

    @property
    def seconds(self) -> float:
        """Seconds since the call began."""
        return round(perf_counter() - self.began, 6)

    @property
    def author(self) -> str | None:
        """The identity of the model that writes the answer, or `None` if it is unknown."""
        return None if "model" in self.kwargs else self.member.author

    @property
    def is_final(self) -> bool:
        """Whether part of the answer has been streamed, so that no other attempt may follow."""
        return self.stream is not None and self.stream.begun

    def fault(self, answer: Answer) -> Failure | None:
        """Return why a message does not count as an answer, or `None` if it does."""
        failure = self._failure(answer)
        if failure is None or failure["kind"] not in _NO_ANSWER:
            return None
        if self.is_last or self.is_final:
            # No fallback follows, so these are passed on: text that remains after content filtering, calls of unknown tools,
            # and an empty message of a model with tools, which may have nothing to add to their results.
            is_rest = failure["kind"] == "content_filter" and answer["text"].strip()
            is_end = failure["kind"] == "empty" and self.kwargs.get("tools")
            return None if is_rest or is_end or failure["kind"] == "tool_call_only" else failure
        return failure

    def flaw(self, answer: Answer) -> Failure | None:
        """Return the flaw to record for an answer that is passed on, such as a refusal or a call of an unknown tool."""
        failure = self._failure(answer)
        return None if failure is None or failure["kind"] == "empty" else failure

    def _failure(self, answer: Answer) -> Failure | None:
        failure = answer["failure"]
        if failure is None or failure["kind"] != "tool_call_only":
            return failure
        return None if self.may_call else Failure(kind=failure["kind"], message="the model called a tool that it was not given")

    def raised(self, error: BaseException) -> FailedAttempt:
        """Return the failed attempt for a call that raised an error."""
        # The error becomes the cause of the mixture's error, so tracebacks show its text.
        secrets = secrets_of_call(self.member, self.config)
        cleanse(error, secrets)
        return self._failed(describe(error, secrets), cause=error)

    def said_nothing(self, answer: Answer, failure: Failure) -> FailedAttempt:
        """Return the failed attempt for a message that does not count as an answer."""
        return self._failed(failure, answer=answer)

    def _failed(self, failure: Failure, *, cause: BaseException | None = None, answer: Answer | None = None) -> FailedAttempt:
        failed = FailedAttempt(self.member, failure, cause, self.seconds, answer, self.trimmed)
        place = {"name": self.member.name, "model": self.member.id}
        emit("aggregated", **place, status="failed", error=failure, seconds=failed.seconds)
        return failed


class FailedAttempt(NamedTuple):
    """An attempt that gave no usable answer.

    Attributes:
        member: The member that was called.
        failure: The failure to record.
        cause: The error that the call raised, or `None` if it returned a message.
        seconds: Duration of the call.
        answer: The message that does not count as an answer, or `None` if the call raised an error.
        trimmed: Descriptions of what was left out to fit the context window.
    """

    member: Member
    failure: Failure
    cause: BaseException | None
    seconds: float
    answer: Answer | None
    trimmed: list[str]

    def step(self, *, turn: str, node: str) -> Step:
        """Return the attempt as a step of the answer's account.

        Args:
            turn: The current turn.
            node: The name of the node that made the call.
        """
        said = self.answer
        paid = paid_for(self.cause) if said is None else Paid(usage=said["usage"], cost_usd=said.get("cost_usd"))
        step = Step(
            turn=turn,
            node=node,
            name=self.member.name,
            model=self.member.id,
            text="",
            status="failed",
            error=self.failure,
            usage=paid["usage"],
            cost_usd=paid["cost_usd"],
            seconds=self.seconds,
        )
        if self.trimmed:
            step["trimmed"] = self.trimmed
        if not was_sent(self.cause):
            step["sent"] = False
        return step


def own_message(message: AIMessage, conversation: Sequence[BaseMessage], moa: dict[str, Any]) -> AIMessage:
    """Return the answer with its account in `response_metadata["moa"]`, and with an id that is unique in the conversation.

    Args:
        message: The answer.
        conversation: The messages before the answer.
        moa: The account of the answer.
    """
    update: dict[str, Any] = {"response_metadata": {**message.response_metadata, "moa": moa}}
    if message.id is not None and any(message.id == each.id for each in conversation):
        # Some servers give every message the same id; the reducer would replace the earlier message.
        update["id"] = f"{LC_ID_PREFIX}-{uuid4()}"
    return message.model_copy(update=update)


class Aggregate(Node):
    """Calls the aggregator, then its fallbacks until one answers, and appends the answer to the conversation."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        prompt: Callable[[RunState, PlacedPrompt], Prompt] | None = None,
        is_alone: bool = False,
    ) -> None:
        """Make the node.

        Args:
            settings: The settings of the mixture's nodes. `settings.members` holds the aggregator and its fallbacks.
            prompt: Returns the prompt to use, given the state and the mixture's prompt for the called member. Default: the
                mixture's prompt.
            is_alone: Whether the member answers alone, without references to aggregate. Changes names in traces and errors.
        """
        self._is_alone = is_alone
        self._settings = settings
        self._members = (settings.members.aggregator, *settings.members.fallbacks)
        self._prompt = prompt

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Call the aggregator, then its fallbacks until one answers."""
        failed: list[FailedAttempt] = []
        for call in self._calls(input, config):
            try:
                answer = await self._ask(call)
            except GraphBubbleUp:  # LangGraph handles interrupts
                raise
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # This node was not cancelled; a task inside the member was.
                failed.append(call.raised(error))
            except Exception as error:  # noqa: BLE001  # any error leads to the next fallback
                failed.append(call.raised(error))
            else:
                if (failure := call.fault(answer)) is None:
                    return self._answered(input, call, answer, failed)
                failed.append(call.said_nothing(answer, failure))
            if call.is_final:
                break
        raise self._error(failed, input)

    def _calls(self, state: RunState, config: RunnableConfig | None) -> Iterator[Attempt]:
        """Yield the calls of the aggregator and its fallbacks. Each is prepared when it is requested."""
        introduce(config, self._settings.mixture)
        deadline = self._settings.deadline
        for place, member in enumerate(self._members):
            limit, left = None, len(self._members) - place
            if deadline is not None:
                # The rest of the deadline is shared equally with the fallbacks that are left.
                at = share_of(deadline, config, parts=left)
                whose = "its share of the deadline" if left > 1 else "the deadline"
                limit = Limit(at, "deadline", f"{whose} ({deadline:g} s) has elapsed")
            yield self._prepare(member, state, config, limit, is_last=left == 1)

    def _prepare(
        self, member: Member, state: RunState, config: RunnableConfig | None, limit: Limit | None, *, is_last: bool
    ) -> Attempt:
        context = context_of()
        messages = cast("list[BaseMessage]", state["messages"])
        others = {key: value for key, value in context.model_kwargs.items() if key not in COMMON}
        own = kwargs_for_fallback(member, {**others, **context.aggregator_kwargs}, of=self._members[0])
        kwargs = member.kwargs(member.parameters(self._settings.call_kwargs, context.model_kwargs), own)
        has_tools = bool(kwargs.get("tools")) or member.has_tools
        placed = self._settings.prompt_for(member)
        show = placed if self._prompt is None else self._prompt(state, placed)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            messages = for_aggregator(messages, member, has_tools=has_tools)
            if member.spec.system_prompt:
                messages = add_system_text(messages, member.spec.system_prompt)
            return show(messages, references)

        sent = shown(member, messages, state.get("merged", []), prompt, place=placed.place, kwargs=kwargs, state=state)
        emit("aggregating", name=member.name, model=member.id)
        # A compiled graph streams states instead of message chunks; its answer is sent in one piece.
        streams = context.stream_answer and not member.is_graph
        # The tools of a chain or an agent are unknown, so any tool call is allowed.
        may_call = has_tools or bool(kwargs.get("functions")) or member.chat_model is None
        stream = AnswerStream(get_runtime().stream_writer, may_call=may_call) if streams else None
        config = called(config, member.name if self._is_alone else f"aggregator: {member.name}", member)
        return Attempt(member, sent.messages, sent.trimmed, config, kwargs, may_call, stream, limit, is_last, perf_counter())

    async def _ask(self, call: Attempt) -> Answer:
        async def ask(config: RunnableConfig) -> Answer:
            if call.stream is None:
                return await call.member.ainvoke(call.messages, config, call.kwargs, limit=call.limit)
            begun = call.stream.has_begun
            return await retrying(call.member.retry, lambda: self._stream(call, config), limit=call.limit, begun=begun)

        return await call_traced(call.limit, call.config, ask)

    async def _stream(self, call: Attempt, config: RunnableConfig) -> Answer:
        stream = cast("AnswerStream", call.stream)
        stream.restart()
        task = asyncio.current_task()
        async with aclosing(call.member.astream(call.messages, config, call.kwargs, limit=call.limit)) as items:
            async for item in items:
                stream.send(item)
                if task is not None and task.cancelling():
                    # Before Python 3.12, `asyncio.wait_for` (used by clients to wait for chunks) swallows a cancellation that
                    # arrives together with a chunk.
                    raise asyncio.CancelledError
        return stream.answer()

    def _answered(self, state: RunState, call: Attempt, answer: Answer, failed: Sequence[FailedAttempt]) -> dict[str, Any]:
        message, member = answer["message"], call.member
        place = {"name": member.name, "model": member.id}
        paid = {"usage": answer["usage"], "cost_usd": answer.get("cost_usd")}
        flaw = call.flaw(answer)
        aggregated: dict[str, Any] = {**place, "status": "ok", "seconds": call.seconds, **paid, "error": flaw}
        if message.id is not None and not is_run_id(message.id):
            aggregated["message_id"] = message.id
        if call.trimmed:
            aggregated["trimmed"] = call.trimmed
        if is_cut(message):
            aggregated["cut"] = "the answer was cut at max_tokens"
        elif call.stream is not None and has_no_end(message):
            aggregated["cut"] = "the stream ended without a finish reason, so that its end may be missing"
        turn = turn_of(state["messages"])
        tried = [each.step(turn=turn, node=AGGREGATOR) for each in failed]
        steps = [*steps_of(state), *tried]
        moa = account(
            references_of(state),
            aggregated,
            steps=steps,
            stopped=state.get("stopped"),
            passed_on=state.get("passed_on"),
            notes=state.get("notes"),
            adjusted=self._settings.adjusted(context_of()),
            author=author_of(message) if member.is_mixture else call.author,
        )
        tell(moa, self._settings)
        emit("aggregated", **place, status="ok", error=flaw, seconds=aggregated["seconds"])
        message = own_message(message, state["messages"], moa)
        return {"messages": [message], "steps": tried} if tried else {"messages": [message]}

    def _error(self, failed: Sequence[FailedAttempt], state: RunState) -> AggregatorFailedError:
        causes = [(each.member.id, each.failure, each.cause) for each in failed]
        turn = turn_of(state["messages"])
        steps = [*steps_of(state), *(each.step(turn=turn, node=AGGREGATOR) for each in failed)]
        role = {"role": ""} if self._is_alone else {}
        return aggregator_failed(causes, references_of(state), steps, **role)
