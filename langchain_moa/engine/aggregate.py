"""The aggregator node: one model reads the last layer's references and writes the final answer."""

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
from langchain_moa.data.reference import Failure, Step, steps_of
from langchain_moa.data.state import emit, references_of, turn_of
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
"""The name of the node that writes the answer."""


# If there is a fallback, such an answer does not count. A refusal does.
_NO_ANSWER = {"empty", "no_text", "content_filter", "tool_call_only"}


class Attempt(NamedTuple):
    """One call, ready to be made.

    Attributes:
        member: Who is called.
        messages: With what.
        trimmed: What of it had to be left out, in words.
        config: The call's config.
        kwargs: The call's keyword arguments.
        may_call: Whether it may answer with a call of a tool: whether it has been given any.
        stream: Where its chunks go, if it streams.
        limit: How long it may take, if that is limited.
        is_last: Whether no fallback is left.
        began: When, on the clock of `time.perf_counter`.
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
        """The seconds since it began."""
        return round(perf_counter() - self.began, 6)

    @property
    def author(self) -> str | None:
        """Which model writes the answer; `None` where that is not known."""
        return None if "model" in self.kwargs else self.member.author

    @property
    def is_final(self) -> bool:
        """Whether no other may follow: something of the answer has been streamed."""
        return self.stream is not None and self.stream.begun

    def fault(self, answer: Answer) -> Failure | None:
        """Say why an answer is none; `None` if it is one."""
        failure = self._failure(answer)
        if failure is None or failure["kind"] not in _NO_ANSWER:
            return None
        if self.is_last or self.is_final:
            # No fallback follows. What a filter has left, or a call of a tool that was not given, is passed on, as by any
            # model; and an agent that has called its tools may well have nothing to add.
            is_rest = failure["kind"] == "content_filter" and answer["text"].strip()
            is_end = failure["kind"] == "empty" and self.kwargs.get("tools")
            return None if is_rest or is_end or failure["kind"] == "tool_call_only" else failure
        return failure

    def flaw(self, answer: Answer) -> Failure | None:
        """Say what is wrong with an answer that is passed on: a refusal, the rest of a filter, a call of no tool of ours."""
        failure = self._failure(answer)
        return None if failure is None or failure["kind"] == "empty" else failure

    def _failure(self, answer: Answer) -> Failure | None:
        failure = answer["failure"]
        if failure is None or failure["kind"] != "tool_call_only":
            return failure
        return None if self.may_call else Failure(kind=failure["kind"], message="the model called a tool that it was not given")

    def raised(self, error: BaseException) -> FailedAttempt:
        """Return what has become of an attempt that raised."""
        # The error of the mixture has it as its cause, whose text Python shows.
        secrets = secrets_of_call(self.member, self.config)
        cleanse(error, secrets)
        return self._failed(describe(error, secrets), cause=error)

    def said_nothing(self, answer: Answer, failure: Failure) -> FailedAttempt:
        """Return what has become of an attempt whose answer is none."""
        return self._failed(failure, answer=answer)

    def _failed(self, failure: Failure, *, cause: BaseException | None = None, answer: Answer | None = None) -> FailedAttempt:
        failed = FailedAttempt(self.member, failure, cause, self.seconds, answer, self.trimmed)
        place = {"name": self.member.name, "model": self.member.id}
        emit("aggregated", **place, status="failed", error=failure, seconds=failed.seconds)
        return failed


class FailedAttempt(NamedTuple):
    """An attempt that failed.

    Attributes:
        member: Who was called.
        failure: Why it is no answer.
        cause: What it raised; `None` if it answered nothing.
        seconds: How long it took.
        answer: What it said, if it said something.
        trimmed: What of its prompt had to be left out, in words.
    """

    member: Member
    failure: Failure
    cause: BaseException | None
    seconds: float
    answer: Answer | None
    trimmed: list[str]

    def step(self, *, turn: str, node: str) -> Step:
        """Return it as plain data for the account of the answer.

        Args:
            turn: The turn that was to be answered.
            node: The node that made the call.
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
    """Return the answer with its account, and with a new id if the conversation already has a message of that id.

    Args:
        message: The answer.
        conversation: The messages before it.
        moa: The account of its calls.
    """
    update: dict[str, Any] = {"response_metadata": {**message.response_metadata, "moa": moa}}
    if message.id is not None and any(message.id == each.id for each in conversation):
        # Some servers give every message the same id, which would replace the earlier message.
        update["id"] = f"{LC_ID_PREFIX}-{uuid4()}"
    return message.model_copy(update=update)


class Aggregate(Node):
    """A node that asks the aggregator, or its fallbacks, and appends the answer to the conversation."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        prompt: Callable[[RunState, PlacedPrompt], Prompt] | None = None,
        is_alone: bool = False,
    ) -> None:
        """Make the node.

        Args:
            settings: The settings of the mixture's nodes; the members are its aggregator and the fallbacks.
            prompt: From a state and the mixture's prompt for the member that is called to how the references are shown.
                Default: the mixture's prompt.
            is_alone: Whether the member answers by itself, and is no aggregator of anything.
        """
        self._is_alone = is_alone
        self._settings = settings
        self._members = (settings.members.aggregator, *settings.members.fallbacks)
        self._prompt = prompt

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the aggregator."""
        failed: list[FailedAttempt] = []
        for call in self._calls(input, config):
            try:
                answer = await self._ask(call)
            except GraphBubbleUp:  # an interrupt inside the aggregator is the graph's business
                raise
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # This node was not cancelled: something inside the member has cancelled itself.
                failed.append(call.raised(error))
            except Exception as error:  # noqa: BLE001  # whatever it raises, the next may do better
                failed.append(call.raised(error))
            else:
                if (failure := call.fault(answer)) is None:
                    return self._answered(input, call, answer, failed)
                failed.append(call.said_nothing(answer, failure))
            if call.is_final:
                break
        raise self._error(failed, input)

    def _calls(self, state: RunState, config: RunnableConfig | None) -> Iterator[Attempt]:
        """Prepare the call of one member after the other, each when its turn comes."""
        introduce(config, self._settings.mixture)
        deadline = self._settings.deadline
        for place, member in enumerate(self._members):
            limit, left = None, len(self._members) - place
            if deadline is not None:
                # The fallbacks keep their parts.
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
        # A compiled graph streams states, not an answer; its answer is sent whole.
        streams = context.stream_answer and not member.is_graph
        # What a chain or an agent may call is not known from outside.
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
                    # Before Python 3.12 `asyncio.wait_for`, in which clients wait for chunks, loses a cancellation that
                    # comes together with one.
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
        steps = [*steps_of(state.get("steps", []), turn), *tried]
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
        steps = [*steps_of(state.get("steps", []), turn), *(each.step(turn=turn, node=AGGREGATOR) for each in failed)]
        role = {"role": ""} if self._is_alone else {}
        return aggregator_failed(causes, references_of(state), steps, **role)
