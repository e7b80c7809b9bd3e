"""A recorded run: one answer of a mixture with all its calls, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from langchain_moa.data.figures import Cost
from langchain_moa.data.finish_reasons import finish_kind
from langchain_moa.data.reference import Failure, Status
from langchain_moa.runs.outline import Outline  # a field of a model

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

FORMAT: Literal[1] = 1
"""The version of the JSON format. Fields may be added within a version; their meaning changes only with the version."""

CallRole: TypeAlias = Literal["proposer", "aggregator", "step"]
"""The role of a call: of a proposer, of an aggregator, or of another member such as a ranker or a moderator (`step`)."""


class MessageRecord(BaseModel):
    """One message of a conversation, a prompt or an answer.

    Attributes:
        type: LangChain's message type: `human`, `ai`, `system`, `tool`, ...
        content: The text, or a list of content blocks. Images and other data of more than 2,000 characters are replaced by a
            note.
        name: The name of the speaker or the tool.
        tool_calls: The tool calls of the message.
        tool_call_id: The call that a tool message answers.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    type: str
    content: str | list[JsonValue]
    name: str | None = None
    tool_calls: list[JsonValue] = []
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text. Other content blocks are replaced by their type in brackets: `[image]`."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(_readable(block) for block in self.content)


class AttemptRecord(BaseModel):
    """One attempt of a call. Times are in seconds since the start of the run.

    Attributes:
        started: The time when the request was sent.
        first_token: The time of the first token, or `None` if the model did not stream.
        done: The end time, or `None` if it is unknown, for example for an abandoned sync call.
        status: `ok`, `failed`, or `cancelled`.
        error: The error with the provider's message, with secrets redacted.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    started: float
    first_token: float | None = None
    done: float | None = None
    status: Literal["ok", "failed", "cancelled"]
    error: Failure | None = None


class CallRecord(BaseModel):
    """One call of a member with all its attempts. Times are in seconds since the start of the run.

    Attributes:
        node: The node of the graph that made the call.
        role: The role of the call.
        layer: The layer, from 1; `None` for the aggregator.
        proposer: The proposer's position in its layer, from 1; `None` for other calls.
        name: The member's name, or the name of the step: `ranker`, `moderator`, ...
        model: The model id.
        queued: The time when the node started the call; `None` for calls made before the run was resumed.
        first_token: The time of the first token of the last attempt, or `None` if the model did not stream.
        done: The end time.
        seconds: The duration, as measured by the mixture.
        attempts: The attempts, in order. Retries inside a provider's client are not visible.
        hides_attempts: Whether the provider's client may have retried internally.
        status: `ok`, `failed`, `late` if the layer continued without it, `cancelled` if the run was cancelled.
        error: The error, with secrets redacted.
        finish_reason: The provider's finish reason (`stop`, `length`, ...), or `None`.
        kept: Whether the answer was passed on to the next layer or the aggregator; `None` if that is unknown.
        text: The answer without any chain of thought; for a failed call its partial text, if any.
        shown_as: The text that was passed on instead, if a person or a filter changed it.
        usage: The tokens that the provider reported, or `None`.
        cost_usd: The cost in US dollars, or `None` if the price is unknown.
        prompt: The messages sent to the model.
        settings: The parameters of the request.
        runs: The nested runs, if the member is a mixture.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    node: str
    role: CallRole
    layer: int | None = None
    proposer: int | None = None
    name: str
    model: str
    queued: float | None = None
    first_token: float | None = None
    done: float | None = None
    seconds: float | None = None
    attempts: list[AttemptRecord] = []
    hides_attempts: bool = False
    status: Status
    error: Failure | None = None
    finish_reason: str | None = None
    kept: bool | None = None
    text: str = ""
    shown_as: str | None = None
    usage: dict[str, JsonValue] | None = None
    cost_usd: float | None = None
    prompt: list[MessageRecord] = []
    settings: dict[str, JsonValue] = {}
    runs: list[MoARun] = []

    @property
    def text_read(self) -> str:
        """The text that was passed on."""
        return self.text if self.shown_as is None else self.shown_as

    @property
    def retries(self) -> int:
        """The number of retries."""
        return max(len(self.attempts) - 1, 0)

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at the output limit (`max_tokens`)."""
        return finish_kind(self.finish_reason) == "length"

    @property
    def cost(self) -> Cost:
        """The cost. That of a nested mixture is the sum of its calls."""
        return Cost.of(_prices([self]))


class MoARun(BaseModel):
    """One answer of a mixture, as recorded by `record_moa`: all calls with their prompts, answers, times and costs.

    It has only plain data. Keys of the members and of the environment are redacted. Times are in seconds since the start of the
    run.

    Attributes:
        version: The version of the JSON format.
        id: The run's id, the same as in traces.
        started: The start time.
        seconds: The duration.
        status: `ok`; `failed`; `cancelled` by the caller; `interrupted` if the graph waits to be resumed.
        error: The error, with secrets redacted.
        finish_reason: The provider's finish reason of the answer, or `None`.
        question: The messages of the conversation.
        answer: The answer, or `None`.
        calls: All calls, ordered by layer and proposer, those of the aggregator last.
        read: The layer and proposer of each reference that the answer was written from, in order; `None` if they are unknown.
        outcome: Further facts about the answer: `selected` if it is one of the references, `stopped` if the layers ended
            early, `degraded` and `fell_back` if members failed.
        mixture: The mixture, as returned by `Mixture.describe`; `None` if the run ended before it was known.
        config: The mixture as a configuration file, or `None` if it has objects that a file cannot express.
        parameters: The parameters of this call: `temperature`, `stop`, tools, ...
        graph: The nodes and edges of the graph.
        versions: The versions of Python and the main packages.

    Example:
        ```python
        from langchain_moa import ChatMoA, MoARun, record_moa

        moa = ChatMoA.from_preset("local", max_tokens=32)
        with record_moa() as runs:
            moa.invoke("Why is the sky blue?")
        runs[0].to_html("run.html")
        assert MoARun.from_json(runs[0].to_json()) == runs[0]
        ```
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    version: Literal[1] = FORMAT
    id: str
    started: AwareDatetime
    seconds: float
    status: Literal["ok", "failed", "cancelled", "interrupted"]
    error: Failure | None = None
    finish_reason: str | None = None
    question: list[MessageRecord] = []
    answer: MessageRecord | None = None
    calls: list[CallRecord] = []
    read: list[tuple[int, int]] | None = None
    outcome: dict[str, JsonValue] = {}
    mixture: dict[str, JsonValue] | None = None
    config: dict[str, JsonValue] | None = None
    parameters: dict[str, JsonValue] = {}
    graph: Outline | None = None
    versions: dict[str, str] = {}

    def __repr__(self) -> str:
        """Return the main figures without the texts."""
        figures = f"calls={len(self.calls)}, seconds={self.seconds:.1f}"
        return f"{type(self).__name__}(id={self.id!r}, status={self.status!r}, {figures})"

    __str__ = __repr__

    @property
    def text(self) -> str:
        """The text of the answer; empty without an answer."""
        return "" if self.answer is None else self.answer.text

    @property
    def layers(self) -> list[list[CallRecord]]:
        """The proposers' calls, by layer."""
        proposed = [call for call in self.calls if call.role == "proposer"]
        deepest = max((call.layer or 0 for call in proposed), default=0)
        return [[call for call in proposed if call.layer == number] for number in range(1, deepest + 1)]

    @property
    def references(self) -> list[CallRecord]:
        """The references that the answer was written from, ordered by proposer.

        If they are not recorded, these are the references that were kept of the last layer that has some.
        """
        if self.read is not None:
            return [call for call in self.calls if call.role == "proposer" and (call.layer, call.proposer) in self.read]
        for layer in reversed(self.layers):
            if good := [call for call in layer if call.status == "ok" and call.kept is not False and call.text]:
                return good
        return []

    @property
    def tokens(self) -> tuple[int, int] | None:
        """The input and output tokens of all calls, or `None` if no provider reported any."""
        return tokens_of(self.calls)

    @property
    def uncounted(self) -> int:
        """The number of successful calls without token counts, which `tokens` does not include."""
        return sum(call.status == "ok" and not call.usage for call in self.calls)

    @property
    def cost(self) -> Cost:
        """The cost of all calls."""
        return Cost.of(_prices(self.calls))

    @property
    def cost_usd(self) -> float | None:
        """The cost of all calls in US dollars, or `None` if the price of a paid call is unknown."""
        return self.cost.total_usd

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at the output limit (`max_tokens`)."""
        if self.finish_reason is not None or self.answer is None:
            return finish_kind(self.finish_reason) == "length"
        # A selected answer has the finish reason of its reference.
        writers = [call for call in self.calls if call.role == "aggregator" and call.status == "ok"][-1:]
        chosen = [call for call in self.references if call.text_read == self.text] if "selected" in self.outcome else writers
        return any(call.is_cut for call in chosen)

    @property
    def is_degraded(self) -> bool:
        """Whether there is an answer, but members failed or were late, or it was cut at `max_tokens`."""
        return self.status == "ok" and bool(self.is_cut or self.outcome.get("degraded") or self.missing)

    @property
    def missing(self) -> dict[str, int]:
        """The number of calls without an answer, by status: `{"late": 3, "failed": 1}`."""
        statuses = [call.status for call in self.calls]
        return {status: statuses.count(status) for status in ("failed", "late", "cancelled") if status in statuses}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the run as JSON, and write it to a file if one is given.

        Args:
            path: The file, readable only by its owner. An existing file is replaced atomically. Default: none.

        Raises:
            OSError: The file cannot be written. The message has the file and the reason.
        """
        from langchain_moa.data.files import write_whole
        from langchain_moa.runs.files import json_of

        text = json_of(self, indent=2) + "\n"
        if path is not None:
            write_whole(path, text)
        return text

    @classmethod
    def from_json(cls, source: str | bytes | os.PathLike[str]) -> Self:
        """Read a run from JSON.

        Args:
            source: The JSON text, or the `Path` of a file with it.

        Raises:
            ValueError: It is not a run, or has a version that this release does not support.
            OSError: The file cannot be read.
        """
        text = source if isinstance(source, (str, bytes)) else Path(source).read_bytes()
        return cls.model_validate_json(text)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the run as a self-contained HTML page, and write it to a file if one is given.

        The page works offline and without scripts. It loads nothing and executes nothing that a model wrote.

        Args:
            path: The file, readable only by its owner. An existing file is replaced atomically. Default: none.

        Raises:
            ImportError: The extra `report` is not installed.
            OSError: The file cannot be written. The message has the file and the reason.
        """
        from langchain_moa.data.files import write_whole
        from langchain_moa.runs.run_page import run_page

        page = run_page(self)
        if path is not None:
            write_whole(path, page)
        return page

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the run to a file, in the format of its suffix.

        Args:
            path: The file: `.html` for the page, `.json` for the run, `.jsonl` to append the run to the file.

        Returns:
            The file's path.

        Raises:
            ValueError: The suffix is not supported.
            OSError: The file cannot be written. The message has the file and the reason.
        """
        from langchain_moa.runs.files import append_run, checked_path

        file = checked_path(path)
        match file.suffix.lower():
            case ".html":
                self.to_html(file)
            case ".json":
                self.to_json(file)
            case _:
                append_run(self, file)
        return file

    def _repr_html_(self) -> str:
        """Return the page in a frame, for notebooks."""
        from langchain_moa.runs.page import framed

        return framed(self.to_html())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


def tokens_of(calls: Iterable[CallRecord]) -> tuple[int, int] | None:
    """Return the input and output tokens of calls, or `None` if no provider reported any."""
    counted = [call.usage for call in calls if call.usage]
    if not counted:
        return None
    read, written = (sum(_number(usage.get(key)) for usage in counted) for key in ("input_tokens", "output_tokens"))
    return read, written


def cost_of(calls: Iterable[CallRecord]) -> Cost:
    """Return the cost of calls."""
    return Cost.of(_prices(calls))


def _prices(calls: Iterable[CallRecord]) -> Iterator[float | None]:
    """Yield the price of each paid call, or `None` if it is unknown."""
    for call in calls:
        if call.cost_usd is None and call.runs:
            yield from _prices(inner for run in call.runs for inner in run.calls)
        # A call without tokens and without an answer counts as free.
        elif call.usage or call.status == "ok":
            yield call.cost_usd


def _number(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


def _readable(block: JsonValue) -> str:
    if isinstance(block, dict):
        text = block.get("text")
        return text if isinstance(text, str) else f"[{block.get('type', 'block')}]"
    return str(block)


CallRecord.model_rebuild(_types_namespace={"MoARun": MoARun})
