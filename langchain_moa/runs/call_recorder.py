"""Record the attempts of a member's call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration
from typing_extensions import override

from langchain_moa._compat import StreamingCallbackHandler
from langchain_moa.data.answer import read_answer
from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.data.finish_reasons import finish_reason_of
from langchain_moa.data.redaction import describe
from langchain_moa.runs.run import AttemptRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Literal
    from uuid import UUID

    from langchain_core.outputs import LLMResult

    from langchain_moa.data.reference import Failure
    from langchain_moa.members.member import Member
    from langchain_moa.runs.serialization import Serializer


@dataclass
class OpenAttempt:
    """An attempt that may still be running. Times are those of `time.perf_counter`."""

    started: float
    first_token: float | None = None
    done: float | None = None
    error: Failure | None = None
    is_cancelled: bool = False
    output: Any = None

    def record(self, began: float, serializer: Serializer) -> AttemptRecord:
        """Return the record of the attempt.

        Args:
            began: The start time of the run.
            serializer: Redacts secrets and converts to plain data.
        """
        status: Literal["ok", "failed", "cancelled"] = "failed" if self.error else "ok"
        return AttemptRecord(
            started=since(began, self.started),
            first_token=None if self.first_token is None else since(began, self.first_token),
            done=None if self.done is None else since(began, self.done),
            status="cancelled" if self.is_cancelled or self.done is None else status,
            error=None if self.error is None else serializer.failure(self.error),
        )


@dataclass(eq=False)
class CallRecorder(BaseCallbackHandler):
    """Records one call. Its attempts are the runs whose parent is the run of its node.

    Attributes:
        node_id: The run id of the node.
        node: The node's name.
        name: The call's name in traces.
        member: The called member.
        queued: The time when the node started the call, by `time.perf_counter`.
        attempts: The attempts so far.
        sent: The messages, or the input of a Runnable that is not a model.
        settings: The parameters of the request.
        ended: The time when the node ended. Later events are ignored.
        outcome: The node's result: a reference, a step, or the aggregator's entry.
        runs: The nested runs, if the member is a mixture.
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
    attempts: list[OpenAttempt] = field(default_factory=list)
    sent: Any = None
    settings: dict[str, Any] = field(default_factory=dict)
    ended: float | None = None
    outcome: dict[str, Any] | None = None
    runs: list[Any] = field(default_factory=list)
    _open: dict[UUID, OpenAttempt] = field(default_factory=dict)

    @property
    def sent_settings(self) -> dict[str, Any]:
        """The parameters of the request, with LangChain's names, without those that describe its classes."""
        if not self.settings:
            return {}
        sent = {name: value for name, value in self.settings.items() if name != "_type" and value is not None}
        if sent.get("model_name") == sent.get("model"):
            sent.pop("model_name", None)
        if "max_tokens" in sent:
            # A parameter of the call overrides that of the client.
            sent.pop("max_completion_tokens", None)
        # `stream` is the client's setting. Tokens, if there are any, show whether the call streamed.
        sent.pop("stream", None)
        if any(each.first_token is not None for each in self.attempts):
            sent["stream"] = True
        elif any(each.output is not None for each in self.attempts):
            sent["stream"] = False
        return sent

    @property
    def finish_reason(self) -> str | None:
        """The provider's finish reason, or `None`."""
        output = self.attempts[-1].output if self.attempts else None
        return None if output is None else finish_reason_of(read_answer(output)["message"].response_metadata)

    @property
    def text(self) -> str:
        """The text of the last attempt, even if it is not used as the answer."""
        output = self.attempts[-1].output if self.attempts else None
        return "" if output is None else read_answer(output)["text"]

    def end(self) -> None:
        """Record that the node has ended."""
        if self.ended is None:
            self.ended = perf_counter()

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[Any]], *, run_id: UUID, parent_run_id: UUID | None = None, **data: Any
    ) -> None:
        """Record that a chat model was called."""
        self._begin(run_id, parent_run_id, messages[0], data.get("invocation_params"))

    @override
    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, parent_run_id: UUID | None = None, **data: Any
    ) -> None:
        """Record that a text model was called."""
        self._begin(run_id, parent_run_id, prompts[:1], data.get("invocation_params"))

    @override
    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        """Record that another Runnable was called."""
        sent = inputs.get("messages", inputs) if isinstance(inputs, dict) else inputs
        self._begin(run_id, parent_run_id, sent, None)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **_: Any) -> None:
        """Record the time of the first token, of the model itself or of a nested one."""
        attempt = self._open.get(run_id) or next(reversed(self._open.values()), None)
        if attempt is not None and attempt.first_token is None and (token or _says_something(chunk)):
            attempt.first_token = perf_counter()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Record a model's answer."""
        generation = next((each for several in response.generations for each in several), None)
        output = generation.message if isinstance(generation, ChatGeneration) else getattr(generation, "text", None)
        self._end(run_id, output=output)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Record another Runnable's answer."""
        self._end(run_id, output=outputs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record a model's error."""
        self._end(run_id, error=error)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record another Runnable's error."""
        self._end(run_id, error=error)

    def _begin(self, run_id: UUID, parent_run_id: UUID | None, sent: Any, settings: Any) -> None:
        if parent_run_id != self.node_id or self.ended is not None:
            return
        if not self.attempts:
            self.sent, self.settings = sent, dict(settings or {})
        self._open[run_id] = OpenAttempt(perf_counter())
        self.attempts.append(self._open[run_id])

    def _end(self, run_id: UUID, *, output: Any = None, error: BaseException | None = None) -> None:
        attempt = self._open.pop(run_id, None)
        # Answers after the end of the node are ignored.
        if attempt is None or self.ended is not None:
            return
        attempt.done = perf_counter()
        attempt.output = output
        if error is not None:
            attempt.is_cancelled = isinstance(error, OutOfTimeError) or is_cancellation(error)
            if isinstance(error, OutOfTimeError) or not attempt.is_cancelled:
                attempt.error = describe(error, self.member.secrets)


class StreamingCallRecorder(CallRecorder, StreamingCallbackHandler[Any]):
    """Records one call and makes the model stream, like LangChain's stream handlers, for the time of the first token."""

    @override
    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Return the stream unchanged."""
        return output

    @override
    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Return the stream unchanged."""
        return output


def since(began: float, then: float) -> float:
    """Return the seconds between two times, rounded to microseconds."""
    return round(max(then - began, 0.0), 6)


def is_cancellation(error: BaseException) -> bool:
    """Return whether an error means that the run was cancelled."""
    return isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit))


def _says_something(chunk: Any) -> bool:
    message = getattr(chunk, "message", None)
    return isinstance(message, BaseMessage) and bool(message.content or getattr(message, "tool_call_chunks", None))
