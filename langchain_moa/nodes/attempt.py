"""Attempts at the final answer: the call of the aggregator, or of one that stands in for it, and how it failed."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_moa.cleanser import cleanse
from langchain_moa.errors import paid_for
from langchain_moa.nodes.calls import emit
from langchain_moa.reference import Failure
from langchain_moa.resilience.abandonment import is_abandoned
from langchain_moa.secrets import describe
from langchain_moa.step import Step
from langchain_moa.usage import Paid

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from langchain_moa.members.member import Member
    from langchain_moa.nodes.outgoing import Outgoing
    from langchain_moa.reference import Answer
    from langchain_moa.resilience.deadline import Limit

# An answer of these kinds is none where another can stand in; a refusal is one.
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
        outgoing: Where its chunks go, if it streams.
        limit: How long it may take, if that is limited.
        is_last: Whether nobody else stands in.
        began: When, on the clock of `time.perf_counter`.
    """

    member: Member
    messages: list[BaseMessage]
    trimmed: list[str]
    config: RunnableConfig
    kwargs: dict[str, Any]
    may_call: bool
    outgoing: Outgoing | None
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
        failure = self._failure(answer)
        if failure is None or failure["kind"] not in _NO_ANSWER or is_abandoned():
            return None
        if self.is_last or self.is_final:
            # There is nobody else. What a filter has left, or a call of a tool that nobody has given, is passed on, as by any
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
        return step
