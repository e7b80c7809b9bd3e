"""The proposer node: one proposer of a layer answers; from layer 2 on, it reads the previous layer's references."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.data.errors import OutOfTimeError, paid_for, was_sent
from langchain_moa.data.redaction import describe
from langchain_moa.data.reference import Failure, Step
from langchain_moa.data.state import emit, turn_of
from langchain_moa.engine.deciding import answers_before, examined
from langchain_moa.engine.node import Node, NodeSettings, context_of, secrets_of_call, shown
from langchain_moa.engine.progress import RunState, progress_of
from langchain_moa.engine.tracing import call_traced, called, introduce
from langchain_moa.limits.deadline import Limit, call_within
from langchain_moa.limits.quorum import DECIDED
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
    member: Member
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    began: float
    round: LayerRound | None
    limit: Limit | None


class Propose(Node):
    """Calls a proposer, then its fallbacks until one answers, and writes the reference.

    An error of a proposer becomes a failed reference and does not fail the graph, so the other proposers' answers are kept.
    Only an error of the user's prompt function fails the graph. A proposer that is late or cancelled has no fallback.

    LangGraph's `error_handler` cannot be used for this: after an error, a join over several nodes is never released.
    """

    def __init__(
        self,
        member: Member,
        *,
        layer: int,
        position: int,
        node: str,
        settings: NodeSettings,
        closing: Closing,
    ) -> None:
        """Make the node.

        Args:
            member: The proposer.
            layer: The number of the layer, from 1.
            position: The number of the proposer in its layer, from 1.
            node: The node's name.
            settings: The settings of the mixture's nodes.
            closing: The rules by which the layer closes.
        """
        self._member = member
        self._layer = layer
        self._position = position
        self._node = node
        self._settings = settings
        self._closing = closing
        self._width = len(settings.members.layers[layer - 1])

    @property
    def deps(self) -> list[Any]:
        """The mixture; the same attribute as a `RunnableLambda` has for the Runnables that it calls."""
        return [self._settings.mixture]

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:  # noqa: A002  # Runnable's name
        """Call the proposer, then its fallbacks until one answers."""
        tried: list[Step] = []
        reference = await self._reference(self._member, input, config)
        for member in self._member.fallbacks:
            # The layer has closed if the proposer is late or cancelled.
            if reference["status"] != "failed":
                break
            tried.append(self._step(reference))
            reference = await self._reference(member, input, config)
        if tried and (failure := reference["error"]) is not None:
            reference["error"] = _all_failures(tried, failure)
        place = {"layer": self._layer, "proposer": self._position, "name": reference["name"], "model": reference["model"]}
        emit(
            "proposed",
            **place,
            proposers=self._width,
            status=reference["status"],
            error=reference["error"],
            seconds=reference["seconds"],
        )
        if reference["status"] != "ok" and self._closing.is_needed:
            self._decided(progress_of(config).round(f"layer {self._layer}", self._closing).failed())
        return {"references": [reference], **({"steps": tried} if tried else {})}

    async def _reference(self, member: Member, state: RunState, config: RunnableConfig | None) -> Reference:
        with ExitStack() as stack:
            call = self._prepare(member, state, config, stack)
            try:
                answer = await self._ask(call)
            except GraphBubbleUp:  # LangGraph handles interrupts
                raise
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # This node was not cancelled; a task inside the member was.
                return self._failed(state, call, error)
            except Exception as error:  # noqa: BLE001  # any error becomes a failed reference
                return self._failed(state, call, error)
            return await self._answered(state, call, answer)

    async def _ask(self, call: _ProposerCall) -> Answer:
        async def ask(config: RunnableConfig) -> Answer:
            return await call.member.ainvoke(call.messages, config, call.kwargs, limit=call.limit)

        return await call_traced(call.limit, call.config, ask)

    def _prepare(self, member: Member, state: RunState, config: RunnableConfig | None, stack: ExitStack) -> _ProposerCall:
        settings = self._settings
        introduce(config, settings.mixture)
        context = context_of()
        tools = context.aggregator_kwargs.get("tools") or ()
        show = settings.prompt_for(member, self._layer)

        def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
            messages = for_proposer(messages, member, tools=tools)
            if member.spec.system_prompt:
                messages = add_system_text(messages, member.spec.system_prompt)
            return show(messages, references) if self._layer > 1 else messages

        kwargs = member.kwargs(member.parameters(settings.call_kwargs, context.model_kwargs))
        references = state.get("merged", []) if self._layer > 1 else []
        asked = member.spec.seen(cast("list[BaseMessage]", state["messages"]))
        sent = shown(member, asked, references, prompt, place=show.place, kwargs=kwargs, state=state)
        emit("proposing", **self._place(member), proposers=self._width)
        began = perf_counter()
        current, timeout = None, settings.proposer_timeout
        limit = None if timeout is None else Limit(timeout=timeout)
        progress = progress_of(config)
        if self._closing.is_needed:
            current = progress.round(f"layer {self._layer}", self._closing, answers_before(state, self._layer, settings))
            limit = stack.enter_context(current.joined(timeout))
        config = called(config, f"layer {self._layer}: {member.name}", member)
        return _ProposerCall(member, sent.messages, sent.trimmed, config, kwargs, began, current, limit)

    def _place(self, member: Member) -> dict[str, Any]:
        # A fallback's answer keeps the proposer's name, by which strategies find references.
        return {"layer": self._layer, "proposer": self._position, "name": self._member.name, "model": member.id}

    async def _answered(self, state: RunState, call: _ProposerCall, answer: Answer) -> Reference:
        paid = {"usage": answer["usage"], "cost_usd": answer.get("cost_usd")}
        if (failure := answer["failure"]) is not None:
            return self._write(state, call, text="", status="failed", error=failure, **paid)
        reference = self._write(state, call, text=answer["text"], status="ok", error=None, **paid)
        await self._check(state, call, reference)
        if call.round is not None:
            self._decided(call.round.answered(reference))
        return reference

    async def _check(self, state: RunState, call: _ProposerCall, reference: Reference) -> None:
        """Run the aggregation's check, if there is one, and add the result to the reference, unless the layer closes first."""
        try:
            check = await call_within(call.limit, lambda: examined(self._settings, state["messages"], reference["text"]))
        except OutOfTimeError:
            return  # the layer has closed; the answer is kept without the result of the check
        if check is not None:
            reference["check"] = check
            emit("checked", **self._place(call.member), **check)

    def _decided(self, why: str | None) -> None:
        """Emit an event if the outcome is decided.

        Args:
            why: The reason, or `None` if the outcome is not decided.
        """
        if why is not None:
            emit("decided", layer=self._layer, reason=why)

    def _failed(self, state: RunState, call: _ProposerCall, error: BaseException) -> Reference:
        status: Status = "failed"
        if isinstance(error, OutOfTimeError) and error.kind != "timeout":
            # Proposers that the layer stops waiting for are late or cancelled; one that exceeds its own timeout has failed.
            status = "cancelled" if error.kind == DECIDED else "late"
        failure = describe(error, secrets_of_call(call.member, call.config))
        if status != "cancelled" and is_retryable(error):
            # A checkpoint cannot store the error itself.
            failure["retryable"] = True
        reference = self._write(state, call, text="", status=status, error=failure, **paid_for(error))
        if not was_sent(error):
            reference["sent"] = False
        return reference

    def _write(self, state: RunState, call: _ProposerCall, **outcome: Any) -> Reference:
        seconds = round(perf_counter() - call.began, 6)
        place = self._place(call.member)
        reference = cast("Reference", {"turn": turn_of(state["messages"]), **place, **outcome, "seconds": seconds})
        if call.trimmed:
            reference["trimmed"] = call.trimmed
        return reference

    def _step(self, failed: Reference) -> Step:
        """Return a failed call that is followed by a fallback as a step."""
        step = Step(
            turn=failed["turn"],
            node=self._node,
            name=failed["name"],
            model=failed["model"],
            text="",
            status="failed",
            error=failed["error"],
            usage=failed["usage"],
            cost_usd=failed.get("cost_usd"),
            seconds=failed["seconds"],
        )
        if trimmed := failed.get("trimmed"):
            step["trimmed"] = trimmed
        if not failed.get("sent", True):
            step["sent"] = False
        return step


def _all_failures(tried: Sequence[Step], last: Failure) -> Failure:
    """Return the failure of a proposer whose fallbacks failed, too: the last failure, with the earlier ones in its message."""
    earlier = [(step["model"], why) for step in tried if (why := step["error"]) is not None]
    before = "; ".join(f"{model} failed: {why['kind']}: {why['message']}" for model, why in earlier)
    failure = Failure(kind=last["kind"], message=f"{last['message']} (before that, {before})")
    if any(why.get("retryable") for why in (last, *(why for _, why in earlier))):
        failure["retryable"] = True
    return failure
