"""Attempts at the final answer: the call of the aggregator, or of one that stands in for it, and how it failed."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_moa.cleanser import cleanse
from langchain_moa.nodes.calls import emit
from langchain_moa.resilience.abandonment import is_abandoned
from langchain_moa.secrets import describe
from langchain_moa.step import Step

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.nodes.outgoing import Outgoing
    from langchain_moa.reference import Answer, Failure
    from langchain_moa.resilience.deadline import Limit
    from langchain_moa.state import MoAContext

# An answer of these kinds is none; a refusal or a tool call is one.
_NO_ANSWER = {"empty", "no_text", "content_filter"}


class Attempt(NamedTuple):
    """One call, ready to be made.

    Attributes:
        member: Who is called.
        messages: With what.
        trimmed: What of it had to be left out, in words.
        config: The call's config.
        kwargs: The call's keyword arguments.
        outgoing: Where its chunks go, if it streams.
        context: What the caller brought along.
        limit: How long it may take, if that is limited.
        is_last: Whether nobody else stands in.
        began: When, on the clock of `time.perf_counter`.
    """

    member: Member
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    outgoing: Outgoing | None
    context: MoAContext
    limit: Limit | None
    is_last: bool
    began: float

    @property
    def seconds(self) -> float:
        """The seconds since it began."""
        return round(perf_counter() - self.began, 6)

    @property
    def is_final(self) -> bool:
        """Whether no other may follow: something of the answer is out, or nobody waits for it any more."""
        return (self.outgoing is not None and self.outgoing.begun) or is_abandoned()

    def fault(self, answer: Answer) -> Failure | None:
        """Say why an answer is none; `None` if it is one."""
        failure = answer["failure"]
        if failure is None or failure["kind"] not in _NO_ANSWER or is_abandoned():
            return None
        if self.is_last or self.is_final:
            # There is nobody else. What a filter has left is passed on, as by any model; and an agent that has called its
            # tools may well have nothing to add.
            is_rest = failure["kind"] == "content_filter" and answer["text"].strip()
            is_end = failure["kind"] == "empty" and self.kwargs.get("tools")
            return None if is_rest or is_end else failure
        return failure

    def raised(self, error: BaseException) -> FailedAttempt:
        """Return what has become of an attempt that raised; what its thread may still say is not sent."""
        if self.outgoing is not None:
            self.outgoing.close()
        # The error of the mixture has it as its cause, whose text Python shows.
        cleanse(error, self.member.secrets)
        return self._failed(describe(error, self.member.secrets), cause=error)

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
        step = Step(
            turn=turn,
            node=node,
            name=self.member.name,
            model=self.member.id,
            text="",
            status="failed",
            error=self.failure,
            usage=None if self.answer is None else self.answer["usage"],
            cost_usd=None if self.answer is None else self.answer.get("cost_usd"),
            seconds=self.seconds,
        )
        if self.trimmed:
            step["trimmed"] = self.trimmed
        return step
