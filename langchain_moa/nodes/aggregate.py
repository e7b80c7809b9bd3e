"""The aggregator node: one model reads the last layer's references and writes the final answer."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from langchain_moa.cleanser import surrounding
from langchain_moa.errors import aggregator_failed
from langchain_moa.members.conversation import for_aggregator
from langchain_moa.members.standin import kwargs_of_standin
from langchain_moa.nodes.attempt import Attempt, FailedAttempt
from langchain_moa.nodes.calls import called, context_of, emit, introduce, share_of, shown
from langchain_moa.nodes.degradation import tell
from langchain_moa.nodes.outgoing import Outgoing
from langchain_moa.nodes.unfinished import acall_traced
from langchain_moa.prompting.system import add_system_text
from langchain_moa.resilience.abandonment import given_up
from langchain_moa.resilience.deadline import Limit, call_within
from langchain_moa.resilience.retry import aretrying, retrying
from langchain_moa.state import RunState, references_of, turn_of
from langchain_moa.step import steps_of
from langchain_moa.usage import account

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.errors import AggregatorFailedError
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.prompting.prompts import Prompt
    from langchain_moa.reference import Answer, Reference


AGGREGATOR = "aggregator"
"""The name of the node that writes the answer."""


class Aggregate(Runnable[RunState, dict[str, Any]]):
    """A node that asks the aggregator, or those that stand in for it, and appends the answer to the conversation."""

    def __init__(
        self,
        member: Member,
        *,
        prompt: Prompt,
        call_kwargs: Mapping[str, Any],
        fallbacks: Sequence[Member] = (),
        deadline: float | None = None,
        min_references: int = 1,
        mixture: Mixture | None = None,
    ) -> None:
        """Make the node.

        Args:
            member: Who writes the answer.
            prompt: How the references are shown.
            call_kwargs: The mixture's parameters for every model call.
            fallbacks: Who stands in, in this order.
            deadline: Seconds for the whole answer. Default: as many as it takes.
            min_references: How many good references a layer needs.
            mixture: Whose answer it is, for those who watch the run. Default: nobody is told.
        """
        self._mixture = mixture
        self._members = (member, *fallbacks)
        self._prompt = prompt
        self._call_kwargs = call_kwargs
        self._deadline = deadline
        self._min_references = min_references

    @classmethod
    def of(cls, mixture: Mixture, *, prompt: Prompt) -> Aggregate:
        """Make the node that a mixture describes.

        Args:
            mixture: The mixture.
            prompt: How the references are shown.
        """
        return cls(
            mixture.members.aggregator,
            prompt=prompt,
            call_kwargs=mixture.call_kwargs,
            fallbacks=mixture.members.fallbacks,
            deadline=mixture.deadline,
            min_references=mixture.min_references,
            mixture=mixture,
        )

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the aggregator."""
        failed: list[FailedAttempt] = []
        for call in self._calls(input, config):
            try:
                answer = self._ask(call)
            except GraphBubbleUp:  # an interrupt inside the aggregator is the graph's business
                raise
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # whatever it raises, the next may do better
                failed.append(call.raised(error))
            else:
                if (failure := call.fault(answer)) is None:
                    return self._answered(input, call, answer, failed)
                failed.append(call.said_nothing(answer, failure))
            if call.is_final:
                break
        raise self._error(failed, input)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the aggregator without blocking."""
        failed: list[FailedAttempt] = []
        for call in self._calls(input, config):
            try:
                answer = await self._aask(call)
            except GraphBubbleUp:  # as above
                raise
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # Nobody has cancelled this node: something inside the member has cancelled itself.
                failed.append(call.raised(error))
            except Exception as error:  # noqa: BLE001  # as above
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
        if self._mixture is not None:
            introduce(config, self._mixture)
        for place, member in enumerate(self._members):
            limit, left = None, len(self._members) - place
            if self._deadline is not None:
                # Those that may still have to stand in keep their parts.
                at = share_of(self._deadline, state, parts=left)
                whose = "its part of the deadline" if left > 1 else "the deadline"
                limit = Limit(at, "deadline", f"it had not answered when {whose} ({self._deadline:g} s) was over")
            yield self._prepare(member, state, config, limit, is_last=left == 1)

    def _prepare(
        self, member: Member, state: RunState, config: RunnableConfig | None, limit: Limit | None, *, is_last: bool
    ) -> Attempt:
        context = context_of()
        messages = cast("list[BaseMessage]", state["messages"])
        own = kwargs_of_standin(member, context.aggregator_kwargs, of=self._members[0])
        kwargs = member.kwargs(member.defaults(self._call_kwargs), context.model_kwargs, own)
        has_tools = bool(kwargs.get("tools")) or member.has_tools
        show = self._prompt_for(state)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            messages = for_aggregator(messages, has_tools=has_tools, profile=member.profile)
            if member.spec.system_prompt:
                messages = add_system_text(messages, member.spec.system_prompt)
            return show(messages, references)

        sent = shown(member, messages, state.get("merged", []), prompt, kwargs=kwargs, state=state)
        emit("aggregating", name=member.name, model=member.id)
        # A compiled graph streams states, not an answer; its answer is sent whole.
        streams = context.stream_answer and not member.is_graph
        # Of a chain or an agent nobody knows from outside what it may call.
        may_call = has_tools or bool(kwargs.get("functions")) or member.chat_model is None
        outgoing = Outgoing(get_runtime().stream_writer, may_call=may_call) if streams else None
        config = called(config, f"aggregator: {member.name}", member)
        return Attempt(member, sent.messages, sent.trimmed, config, kwargs, may_call, outgoing, limit, is_last, perf_counter())

    def _prompt_for(self, state: RunState) -> Prompt:  # noqa: ARG002  # for those that derive from this class
        """Return how the references are shown in this state."""
        return self._prompt

    def _ask(self, call: Attempt) -> Answer:
        with given_up(call.limit) as limit:
            if call.outgoing is None:
                return call.member.invoke(call.messages, call.config, call.kwargs, limit=limit)
            begun = call.outgoing.has_begun
            return retrying(call.member.retry, lambda: self._stream(call, limit), limit=limit, begun=begun)

    async def _aask(self, call: Attempt) -> Answer:
        async def ask(config: RunnableConfig) -> Answer:
            if call.outgoing is None:
                return await call.member.ainvoke(call.messages, config, call.kwargs, limit=call.limit)
            begun = call.outgoing.has_begun
            return await aretrying(call.member.retry, lambda: self._astream(call, config), limit=call.limit, begun=begun)

        return await acall_traced(call.limit, call.config, ask)

    def _stream(self, call: Attempt, limit: Limit | None) -> Answer:
        outgoing, member = cast("Outgoing", call.outgoing), call.member

        def read() -> None:
            for item in member.runnable.stream(member.input(call.messages), call.config, **call.kwargs):
                if not outgoing.send(item):
                    # Leaving the loop closes the provider's stream: what nobody reads is not paid for.
                    break

        outgoing.restart()
        with member.slots.taken(limit), surrounding(call.config):
            call_within(limit, read)
        return outgoing.answer()

    async def _astream(self, call: Attempt, config: RunnableConfig) -> Answer:
        outgoing, member = cast("Outgoing", call.outgoing), call.member
        outgoing.restart()
        async with member.slots.ataken(call.limit):
            task = asyncio.current_task()
            with surrounding(config):
                async for item in member.runnable.astream(member.input(call.messages), config, **call.kwargs):
                    outgoing.send(item)
                    if task is not None and task.cancelling():
                        # Before Python 3.12 `asyncio.wait_for`, in which clients wait for chunks, loses a cancellation that
                        # comes together with one.
                        raise asyncio.CancelledError
        return outgoing.answer()

    def _answered(self, state: RunState, call: Attempt, answer: Answer, failed: Sequence[FailedAttempt]) -> dict[str, Any]:
        message, member = answer["message"], call.member
        place = {"name": member.name, "model": member.id}
        paid = {"usage": answer["usage"], "cost_usd": answer.get("cost_usd")}
        flaw = call.flaw(answer)
        aggregated: dict[str, Any] = {**place, "status": "ok", "seconds": call.seconds, **paid, "error": flaw}
        if call.trimmed:
            aggregated["trimmed"] = call.trimmed
        turn = turn_of(state["messages"])
        tried = [each.step(turn=turn, node=AGGREGATOR) for each in failed]
        steps = [*steps_of(state.get("steps", []), turn), *tried]
        moa = account(
            references_of(state),
            aggregated,
            steps=steps,
            stopped=state.get("stopped"),
            passed_on=state.get("passed_on"),
        )
        tell(moa, min_references=self._min_references)
        emit("aggregated", **place, status="ok", error=flaw, seconds=aggregated["seconds"])
        message = message.model_copy(update={"response_metadata": {**message.response_metadata, "moa": moa}})
        return {"messages": [message], "steps": tried} if tried else {"messages": [message]}

    def _error(self, failed: Sequence[FailedAttempt], state: RunState) -> AggregatorFailedError:
        causes = [(each.member.id, each.failure, each.cause) for each in failed]
        turn = turn_of(state["messages"])
        steps = [*steps_of(state.get("steps", []), turn), *(each.step(turn=turn, node=AGGREGATOR) for each in failed)]
        return aggregator_failed(causes, references_of(state), steps)
