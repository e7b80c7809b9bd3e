"""Executes the `Ask` requests of strategies: calls the models and records each call as a step."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.data.answer import Answer
from langchain_moa.data.errors import paid_for
from langchain_moa.data.redaction import describe
from langchain_moa.data.reference import Step
from langchain_moa.data.state import emit, turn_of
from langchain_moa.engine.node import NodeSettings, Shown, context_of, secrets_of_call, share_of, shown
from langchain_moa.engine.progress import RunState
from langchain_moa.engine.tracing import call_traced, called
from langchain_moa.limits.deadline import Limit
from langchain_moa.members.binding import json_kwargs
from langchain_moa.members.conversation import for_aggregator
from langchain_moa.prompting.place import add_system_text
from langchain_moa.prompting.prompts import cutting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.limits.quorum import LayerRound
    from langchain_moa.members.member import Member
    from langchain_moa.strategies.inquiry import Ask

# Parameters that end an answer early.
_ENDS_OF_ANSWERS = {"max_tokens", "stop"}


class _InquiryCall(NamedTuple):
    member: Member
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    limit: Limit
    began: float


@dataclass(frozen=True)
class Asking:
    """Calls models for a node's strategies.

    Attributes:
        settings: The settings of the mixture's nodes.
        state: The graph's state.
        config: The node's config, which every call inherits.
        node: The node's name.
        steps: The calls so far; each new call is appended.
        parts: Number of equal shares of the remaining `deadline` that are reserved for what follows this node, including the
            answer.
        round: The round of nodes that stop waiting for each other, in which all calls take part, or `None`.
    """

    settings: NodeSettings
    state: RunState
    config: RunnableConfig
    node: str
    steps: list[Step]
    parts: int = 1
    round: LayerRound | None = None

    async def ask(self, ask: Ask) -> Answer:
        """Call the requested model, then its fallbacks until one answers.

        Args:
            ask: The request.

        Returns:
            The first answer without a failure, or else the last one; its `failure` is then set.
        """
        answer: Answer | None = None
        members = [self.settings.member(ask.model)]
        members += self.settings.members.fallbacks if ask.model is None else members[0].fallbacks
        for place, member in enumerate(members):
            with self._limited(ask, left=len(members) - place) as limit:
                call = self._prepare(ask, member, limit)
                answer = self._answered(ask, call, await self._call(call))
            if answer["failure"] is None:
                break
        assert answer is not None  # noqa: S101  # at least one member is asked
        return answer

    async def _call(self, call: _InquiryCall) -> Answer:
        async def invoke(config: RunnableConfig) -> Answer:
            return await call.member.ainvoke(call.messages, config, call.kwargs, limit=call.limit)

        try:
            return await call_traced(call.limit, call.config, invoke)
        except GraphBubbleUp:  # LangGraph handles interrupts
            raise
        except Exception as error:  # noqa: BLE001  # the inquiry decides how to handle any failure
            return _failed(error, secrets_of_call(call.member, call.config))

    def _prepare(self, ask: Ask, member: Member, limit: Limit) -> _InquiryCall:
        parameters = member.parameters(self.settings.call_kwargs, context_of().model_kwargs)
        if not ask.drafts:
            # They apply to the final answer; a verdict that they cut short could not be parsed.
            parameters = {key: value for key, value in parameters.items() if key not in _ENDS_OF_ANSWERS}
        kwargs = member.kwargs(parameters)
        if ask.schema is not None:
            kwargs |= json_kwargs(member, ask.schema)
        emit("asking", node=self.node, name=ask.name, model=member.id)
        config = called(self.config, f"{ask.name}: {member.name}", member)
        sent = self._shown(ask, member, kwargs)
        return _InquiryCall(member, sent.messages, sent.trimmed, config, kwargs, limit, perf_counter())

    def _shown(self, ask: Ask, member: Member, kwargs: Mapping[str, Any]) -> Shown:
        """Return the messages for a member, with references cut as for any reader, fitted into its context window."""
        # The aggregator's system prompt applies to drafts only; that of an explicitly given model always applies.
        role = member.spec.system_prompt if ask.drafts or ask.model is not None else None
        tokens = self.settings.max_reference_tokens
        show = ask.prompt
        if show is None:
            show = self.settings.prompt_for(member) if ask.references else None
        elif tokens is not None:
            show = cutting(show, tokens)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            messages = for_aggregator(messages, member, has_tools=False)
            # For drafts, the system prompt comes before the references, as for the aggregator itself.
            if role and ask.drafts:
                messages = add_system_text(messages, role)
            messages = show(messages, references) if show is not None else messages
            return add_system_text(messages, role) if role and not ask.drafts else messages

        place = self.settings.place(member)
        return shown(member, list(ask.messages), ask.references, prompt, place=place, kwargs=kwargs, state=self.state)

    @contextmanager
    def _limited(self, ask: Ask, *, left: int) -> Iterator[Limit]:
        """Yield the time limit of a call.

        Args:
            ask: The request.
            left: The number of members that can still be asked, this one included.
        """
        # Verdicts have the same timeout as the answers that they judge.
        timeout = None if ask.drafts else self.settings.proposer_timeout
        with nullcontext(Limit(timeout=timeout)) if self.round is None else self.round.joined(timeout) as limit:
            if (deadline := self.settings.deadline) is not None:
                # The fallbacks and what follows this node, such as the final answer, keep their shares of the deadline.
                at = share_of(deadline, self.config, parts=left + self.parts)
                limit.bring_forward(at, "deadline", f"{ask.name}: no answer within its share of the deadline ({deadline:g} s)")
            yield limit

    def _answered(self, ask: Ask, call: _InquiryCall, answer: Answer) -> Answer:
        failure = answer["failure"]
        step = Step(
            turn=turn_of(self.state["messages"]),
            node=self.node,
            name=ask.name,
            model=call.member.id,
            text=answer["text"] if failure is None else "",
            status="ok" if failure is None else "failed",
            error=failure,
            usage=answer["usage"],
            cost_usd=answer.get("cost_usd"),
            seconds=round(perf_counter() - call.began, 6),
        )
        if call.trimmed:
            step["trimmed"] = call.trimmed
        if failure is not None and not call.limit.has_begun:
            step["sent"] = False
        self.steps.append(step)
        emit("asked", **{key: step[key] for key in ("node", "name", "model", "status", "error", "seconds")})
        return answer


def _failed(error: Exception, secrets: Sequence[str]) -> Answer:
    return Answer(message=AIMessage(""), text="", failure=describe(error, secrets), **paid_for(error))
