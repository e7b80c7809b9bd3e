"""The proposer node: one proposer of one layer answers, seeing the previous layer's references."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.errors import paid_for
from langchain_moa.members.conversation import for_proposer
from langchain_moa.nodes.calls import called, context_of, emit, introduce, shown
from langchain_moa.nodes.unfinished import acall_traced
from langchain_moa.prompting.system import add_system_text
from langchain_moa.resilience.abandonment import given_up
from langchain_moa.resilience.deadline import Limit, OutOfTimeError
from langchain_moa.resilience.retryable import is_retryable
from langchain_moa.secrets import describe
from langchain_moa.state import RunState, turn_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.prompting.prompts import Prompt
    from langchain_moa.reference import Answer, Reference, Status
    from langchain_moa.resilience.quorum import Round, Rounds


class _Call(NamedTuple):
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    began: float
    round: Round | None
    limit: Limit | None


class Propose(Runnable[RunState, dict[str, Any]]):
    """A node that asks one proposer and writes its reference; no proposer fails the graph, only a prompt of the user's does.

    What a proposer raises becomes a failed reference, so that the others' answers, already paid for, are not lost.
    LangGraph's own `error_handler` does not serve here: behind a join over several nodes it never releases the join; nor
    does its `timeout`, which sync nodes cannot have.
    """

    def __init__(
        self,
        member: Member,
        *,
        layer: int,
        position: int,
        prompt: Prompt,
        call_kwargs: Mapping[str, Any],
        timeout: float | None = None,
        rounds: Rounds | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        """Make the node.

        Args:
            member: Who answers.
            layer: The layer's number, from 1.
            position: The proposer's place in the layer, from 1.
            prompt: How the previous layer's references are shown; the first layer has none.
            call_kwargs: The mixture's parameters for every model call.
            timeout: Seconds for the answer once it is asked, retries included. Default: as many as it takes.
            rounds: What the layer's proposers share, if it may close before all of them have answered.
            mixture: Whose proposer it is, for those who watch the run.
        """
        self._member = member
        self._layer = layer
        self._position = position
        self._prompt = prompt
        self._call_kwargs = call_kwargs
        self._timeout = timeout
        self._rounds = rounds
        self._mixture = mixture

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the proposer."""
        with ExitStack() as stack:
            call = self._prepare(input, config, stack)
            try:
                answer = self._ask(call)
            except GraphBubbleUp:  # an interrupt inside a proposer is the graph's business, not a failure
                raise
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # whatever it raises is its failure, not the mixture's
                return self._failed(input, call, error)
            return self._answered(input, call, answer)

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the proposer without blocking."""
        with ExitStack() as stack:
            call = self._prepare(input, config, stack)
            try:
                answer = await self._aask(call)
            except GraphBubbleUp:  # as above
                raise
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # Nobody has cancelled this node: something inside the member has cancelled itself.
                return self._failed(input, call, error)
            except Exception as error:  # noqa: BLE001  # as above
                return self._failed(input, call, error)
            return self._answered(input, call, answer)

    def _ask(self, call: _Call) -> Answer:
        with given_up(call.limit) as limit:
            return self._member.invoke(call.messages, call.config, call.kwargs, limit=limit)

    async def _aask(self, call: _Call) -> Answer:
        async def ask(config: RunnableConfig) -> Answer:
            return await self._member.ainvoke(call.messages, config, call.kwargs, limit=call.limit)

        return await acall_traced(call.limit, call.config, ask)

    def _prepare(self, state: RunState, config: RunnableConfig | None, stack: ExitStack) -> _Call:
        if self._mixture is not None:
            introduce(config, self._mixture)
        context = context_of()
        member = self._member
        tools = context.aggregator_kwargs.get("tools") or ()

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            messages = for_proposer(messages, tools=tools, profile=member.profile)
            if member.spec.system_prompt:
                messages = add_system_text(messages, member.spec.system_prompt)
            return self._prompt(messages, references) if self._layer > 1 else messages

        kwargs = member.kwargs(member.defaults(self._call_kwargs), context.model_kwargs)
        references = state.get("merged", []) if self._layer > 1 else []
        sent = shown(member, cast("list[BaseMessage]", state["messages"]), references, prompt, kwargs=kwargs, state=state)
        emit("proposing", layer=self._layer, proposer=self._position, name=member.name, model=member.id)
        began = perf_counter()
        current, limit = None, None if self._timeout is None else Limit(timeout=self._timeout)
        if self._rounds is not None:
            current, limit = stack.enter_context(self._rounds.joined(state.get("started"), self._timeout))
        config = called(config, f"layer {self._layer}: {member.name}", member)
        return _Call(sent.messages, sent.trimmed, config, kwargs, began, current, limit)

    def _answered(self, state: RunState, call: _Call, answer: Answer) -> dict[str, Any]:
        paid = {"usage": answer["usage"], "cost_usd": answer.get("cost_usd")}
        if (failure := answer["failure"]) is not None:
            return self._write(state, call, text="", status="failed", error=failure, **paid)
        if call.round is not None:
            call.round.answered()
        return self._write(state, call, text=answer["text"], status="ok", error=None, **paid)

    def _failed(self, state: RunState, call: _Call, error: BaseException) -> dict[str, Any]:
        status: Status = "failed"
        if isinstance(error, OutOfTimeError):
            # A proposer that was not waited for has done nothing wrong; one that took longer than it may has failed.
            status = "failed" if error.kind == "timeout" else "late"
        failure = describe(error, self._member.secrets)
        if is_retryable(error):
            # As data: the error itself would not outlive a checkpoint.
            failure["retryable"] = True
        return self._write(state, call, text="", status=status, error=failure, **paid_for(error))

    def _write(self, state: RunState, call: _Call, **outcome: Any) -> dict[str, Any]:
        seconds = round(perf_counter() - call.began, 6)
        place = {"layer": self._layer, "proposer": self._position, "name": self._member.name, "model": self._member.id}
        reference = cast("Reference", {"turn": turn_of(state["messages"]), **place, **outcome, "seconds": seconds})
        if call.trimmed:
            reference["trimmed"] = call.trimmed
        emit("proposed", **place, status=reference["status"], error=reference["error"], seconds=seconds)
        started = {} if call.round is None else {"started": call.round.started}
        return {"references": [reference], **started}
