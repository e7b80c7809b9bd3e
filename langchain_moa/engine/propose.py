"""The proposer node: one proposer of one layer answers, seeing the previous layer's references."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.data.errors import OutOfTimeError, paid_for
from langchain_moa.data.redaction import describe
from langchain_moa.data.state import emit, turn_of
from langchain_moa.engine.node import Node, NodeSettings, call_traced, called, context_of, introduce, secrets_of_call, shown
from langchain_moa.engine.progress import RunState, progress_of
from langchain_moa.limits.deadline import Limit
from langchain_moa.limits.retry import is_retryable
from langchain_moa.members.conversation import for_proposer
from langchain_moa.prompting.place import add_system_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.answer import Answer
    from langchain_moa.data.reference import Reference, Status
    from langchain_moa.limits.quorum import Closing, LayerRound
    from langchain_moa.members.member import Member


class _ProposerCall(NamedTuple):
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    began: float
    round: LayerRound | None
    limit: Limit | None


class Propose(Node):
    """A node that asks one proposer and writes its reference; no proposer fails the graph, only a prompt of the user's does.

    What a proposer raises becomes a failed reference, so that the others' answers, already paid for, are not lost.
    LangGraph's own `error_handler` does not serve here: behind a join over several nodes it never releases the join.
    """

    def __init__(
        self,
        member: Member,
        *,
        layer: int,
        position: int,
        settings: NodeSettings,
        closing: Closing,
    ) -> None:
        """Make the node.

        Args:
            member: Who answers.
            layer: The layer's number, from 1.
            position: The proposer's place in the layer, from 1.
            settings: The settings of the mixture's nodes.
            closing: When the layer closes.
        """
        self._member = member
        self._layer = layer
        self._position = position
        self._settings = settings
        self._closing = closing

    @property
    def deps(self) -> list[Any]:
        """The mixture, as a `RunnableLambda` names what its function calls."""
        return [self._settings.mixture]

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Ask the proposer."""
        with ExitStack() as stack:
            call = self._prepare(input, config, stack)
            try:
                answer = await self._ask(call)
            except GraphBubbleUp:  # an interrupt inside a proposer is the graph's business, not a failure
                raise
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # This node was not cancelled: something inside the member has cancelled itself.
                return self._failed(input, call, error)
            except Exception as error:  # noqa: BLE001  # whatever it raises is its failure, not the mixture's
                return self._failed(input, call, error)
            return self._answered(input, call, answer)

    async def _ask(self, call: _ProposerCall) -> Answer:
        async def ask(config: RunnableConfig) -> Answer:
            return await self._member.ainvoke(call.messages, config, call.kwargs, limit=call.limit)

        return await call_traced(call.limit, call.config, ask)

    def _prepare(self, state: RunState, config: RunnableConfig | None, stack: ExitStack) -> _ProposerCall:
        settings = self._settings
        introduce(config, settings)
        context = context_of()
        member = self._member
        tools = context.aggregator_kwargs.get("tools") or ()
        show = settings.prompt_for(member)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            messages = for_proposer(messages, member, tools=tools)
            if member.spec.system_prompt:
                messages = add_system_text(messages, member.spec.system_prompt)
            return show(messages, references) if self._layer > 1 else messages

        kwargs = member.kwargs(member.parameters(settings.call_kwargs, context.model_kwargs))
        references = state.get("merged", []) if self._layer > 1 else []
        asked = cast("list[BaseMessage]", state["messages"])
        sent = shown(member, asked, references, prompt, place=show.place, kwargs=kwargs, state=state)
        emit("proposing", layer=self._layer, proposer=self._position, name=member.name, model=member.id)
        began = perf_counter()
        current, timeout = None, settings.proposer_timeout
        limit = None if timeout is None else Limit(timeout=timeout)
        progress = progress_of(config)
        if self._closing.is_needed:
            current = progress.round(f"layer {self._layer}", self._closing)
            limit = stack.enter_context(current.joined(timeout))
        config = called(config, f"layer {self._layer}: {member.name}", member)
        return _ProposerCall(sent.messages, sent.trimmed, config, kwargs, began, current, limit)

    def _answered(self, state: RunState, call: _ProposerCall, answer: Answer) -> dict[str, Any]:
        paid = {"usage": answer["usage"], "cost_usd": answer.get("cost_usd")}
        if (failure := answer["failure"]) is not None:
            return self._write(state, call, text="", status="failed", error=failure, **paid)
        if call.round is not None:
            call.round.answered()
        return self._write(state, call, text=answer["text"], status="ok", error=None, **paid)

    def _failed(self, state: RunState, call: _ProposerCall, error: BaseException) -> dict[str, Any]:
        status: Status = "failed"
        if isinstance(error, OutOfTimeError):
            # A proposer that was not waited for has done nothing wrong; one that took longer than it may has failed.
            status = "failed" if error.kind == "timeout" else "late"
        failure = describe(error, secrets_of_call(self._member, call.config))
        if is_retryable(error):
            # As data: the error itself would not outlive a checkpoint.
            failure["retryable"] = True
        return self._write(state, call, text="", status=status, error=failure, **paid_for(error))

    def _write(self, state: RunState, call: _ProposerCall, **outcome: Any) -> dict[str, Any]:
        seconds = round(perf_counter() - call.began, 6)
        place = {"layer": self._layer, "proposer": self._position, "name": self._member.name, "model": self._member.id}
        reference = cast("Reference", {"turn": turn_of(state["messages"]), **place, **outcome, "seconds": seconds})
        if call.trimmed:
            reference["trimmed"] = call.trimmed
        emit("proposed", **place, status=reference["status"], error=reference["error"], seconds=seconds)
        return {"references": [reference]}
