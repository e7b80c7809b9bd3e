"""One call under way: the runs of models that a member's call consists of, as they begin and end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from typing_extensions import override

from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.data.redaction import describe
from langchain_moa.runs.call import Attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Literal
    from uuid import UUID

    from langchain_core.outputs import LLMResult

    from langchain_moa.data.reference import Failure
    from langchain_moa.members.member import Member


@dataclass
class AttemptUnderWay:
    """An attempt; times are those of `time.perf_counter`."""

    started: float
    first_token: float | None = None
    done: float | None = None
    error: Failure | None = None
    is_cancelled: bool = False
    output: Any = None

    def attempt(self, began: float) -> Attempt:
        """Return it as plain data, its times counted from when the run began."""
        status: Literal["ok", "failed", "cancelled"] = "failed" if self.error else "ok"
        return Attempt(
            started=since(began, self.started),
            first_token=None if self.first_token is None else since(began, self.first_token),
            done=None if self.done is None else since(began, self.done),
            status="cancelled" if self.is_cancelled or self.done is None else status,
            error=self.error,
        )


@dataclass(eq=False)
class CallWatch(BaseCallbackHandler):
    """Sees the runs of one call; those directly below its node's run are attempts at it.

    Attributes:
        node_id: The run of the node.
        node: The node's name.
        name: What the call is named in traces.
        member: Who is called.
        queued: When the node came to it, by `time.perf_counter`.
        attempts: The attempts so far.
        sent: What was sent: messages, or what a Runnable takes that is no model.
        settings: The parameters that it was sent with.
        ended: When the node went on; nothing that comes later counts.
        outcome: What the node made of it: a reference, a step, or the aggregator's entry.
        runs: The runs inside, where the member is a mixture.
    """

    run_inline = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    node_id: UUID
    node: str
    name: str
    member: Member
    queued: float = field(default_factory=perf_counter)
    attempts: list[AttemptUnderWay] = field(default_factory=list)
    sent: Any = None
    settings: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None
    outcome: dict[str, Any] | None = None
    runs: list[Any] = field(default_factory=list)
    _open: dict[UUID, AttemptUnderWay] = field(default_factory=dict)

    @property
    def sent_settings(self) -> dict[str, Any]:
        """The parameters that went out, as LangChain names them, without what it says of its own classes."""
        if not self.settings:
            return {}
        sent = {name: value for name, value in self.settings.items() if name != "_type" and value is not None}
        if sent.get("model_name") == sent.get("model"):
            sent.pop("model_name", None)
        if "max_tokens" in sent:
            # What was given with the call takes the place of what the client was made with.
            sent.pop("max_completion_tokens", None)
        # Whether it streamed is there as the client was made; how it was called, its tokens tell, and if nothing came, nothing.
        sent.pop("stream", None)
        if any(each.first_token is not None for each in self.attempts):
            sent["stream"] = True
        elif any(each.output is not None for each in self.attempts):
            sent["stream"] = False
        return sent

    def end(self) -> None:
        """Take down that the node went on."""
        if self.ended is None:
            self.ended = perf_counter()

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[Any]], *, run_id: UUID, parent_run_id: UUID | None = None, **data: Any
    ) -> None:
        """See a chat model being asked."""
        self._begin(run_id, parent_run_id, messages[0], data.get("invocation_params"))

    @override
    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, parent_run_id: UUID | None = None, **data: Any
    ) -> None:
        """See a text model being asked."""
        self._begin(run_id, parent_run_id, prompts[:1], data.get("invocation_params"))

    @override
    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        """See another Runnable being called."""
        sent = inputs.get("messages", inputs) if isinstance(inputs, dict) else inputs
        self._begin(run_id, parent_run_id, sent, None)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **_: Any) -> None:
        """See a token: a model's own, or that of one inside."""
        under_way = self._open.get(run_id) or next(reversed(self._open.values()), None)
        if under_way is not None and under_way.first_token is None and (token or _says_something(chunk)):
            under_way.first_token = perf_counter()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """See a model's answer."""
        generation = next((each for several in response.generations for each in several), None)
        output = generation.message if isinstance(generation, ChatGeneration) else getattr(generation, "text", None)
        self._end(run_id, output=output)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """See another Runnable's answer."""
        self._end(run_id, output=outputs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """See a model fail."""
        self._end(run_id, error=error)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """See another Runnable fail."""
        self._end(run_id, error=error)

    def _begin(self, run_id: UUID, parent_run_id: UUID | None, sent: Any, settings: Any) -> None:
        if parent_run_id != self.node_id or self.ended is not None:
            return
        if not self.attempts:
            self.sent, self.settings = sent, dict(settings or {})
        self._open[run_id] = AttemptUnderWay(perf_counter())
        self.attempts.append(self._open[run_id])

    def _end(self, run_id: UUID, *, output: Any = None, error: BaseException | None = None) -> None:
        under_way = self._open.pop(run_id, None)
        # What comes after the node has gone on is nobody's answer.
        if under_way is None or self.ended is not None:
            return
        under_way.done = perf_counter()
        under_way.output = output
        if error is not None:
            under_way.is_cancelled = isinstance(error, OutOfTimeError) or is_cancellation(error)
            if isinstance(error, OutOfTimeError) or not under_way.is_cancelled:
                under_way.error = describe(error, self.member.secrets)


class StreamingCallWatch(CallWatch, _StreamingCallbackHandler[Any]):
    """A watch that has the model stream, as LangChain's own stream handlers do, so that its first token is seen."""

    @override
    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Leave the stream as it is."""
        return output

    @override
    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Leave the stream as it is."""
        return output


def since(began: float, then: float) -> float:
    """Return the seconds between two readings of the clock, to the microsecond."""
    return round(max(then - began, 0.0), 6)


def is_cancellation(error: BaseException) -> bool:
    """Tell whether an error says that whoever waited has left."""
    return isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit))


def _says_something(chunk: Any) -> bool:
    message = getattr(chunk, "message", None)
    return isinstance(message, BaseMessage) and bool(message.content or getattr(message, "tool_call_chunks", None))
