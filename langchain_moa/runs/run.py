"""A recorded run: one answer of a mixture and every call behind it, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from langchain_core.runnables.graph import Edge, Graph, Node
from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from langchain_moa.data.finish_reasons import finish_kind
from langchain_moa.data.reference import Failure, Status
from langchain_moa.runs.figures import Cost

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

FORMAT: Literal[1] = 1
"""The version of the JSON form. Fields may be added within a version. What a field means changes only with the version."""

CallRole: TypeAlias = Literal["proposer", "aggregator", "step"]
"""A proposer's call, the aggregator's, or any other (a ranker's, a moderator's, ...)."""


class MessageRecord(BaseModel):
    """One message of a conversation, a prompt or an answer.

    Attributes:
        type: LangChain's name of the speaker: `human`, `ai`, `system`, `tool`, ...
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
        """All readable text. Every other kind of block is named in brackets: `[image]`."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(_readable(block) for block in self.content)


class AttemptRecord(BaseModel):
    """One attempt of a call. Times are seconds since the run began.

    Attributes:
        started: When the request was sent.
        first_token: When the first token arrived; `None` where the model did not stream.
        done: When it ended; `None` where that is not known, as for a sync call that was given up.
        status: `ok`, `failed`, or `cancelled`.
        error: Why it failed: the provider's own error text, without secrets.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    started: float
    first_token: float | None = None
    done: float | None = None
    status: Literal["ok", "failed", "cancelled"]
    error: Failure | None = None


class CallRecord(BaseModel):
    """One call of a member with all its attempts. Times are seconds since the run began.

    Attributes:
        node: The node of the graph that made the call.
        role: What the call was for.
        layer: The layer, from 1; `None` for the aggregator.
        proposer: The proposer's position in its layer, from 1; `None` for other calls.
        name: The member's name, or what was asked: `ranker`, `moderator`, ...
        model: The model id.
        queued: When the node began; `None` for a call that was made before the run was resumed.
        first_token: When the first token of the last attempt arrived; `None` where the model did not stream.
        done: When the call ended.
        seconds: How long it took, as the mixture measures it.
        attempts: The attempts, in order. Retries inside a provider's client are not visible.
        hides_attempts: Whether the provider's client may have retried by itself.
        status: `ok`, `failed`, `late` if the layer went on without it, `cancelled` if the whole run was.
        error: Why there is no answer, without secrets.
        finish_reason: Why the model stopped, in the provider's own word (`stop`, `length`, ...); `None` where it does not say.
        kept: Whether the next reader was shown the answer; `None` where that is not known.
        text: The answer without any chain of thought; for a failed call what it wrote, if anything.
        shown_as: The text that readers were shown instead, if a person or a filter has changed it.
        usage: Tokens as the provider counted them; `None` where it did not.
        cost_usd: US dollars; `None` where the price is not known.
        prompt: The messages as they were sent to the model.
        settings: The parameters of the request.
        runs: The runs inside, if the member is a mixture itself.
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
        """The text that its readers were shown."""
        return self.text if self.shown_as is None else self.shown_as

    @property
    def retries(self) -> int:
        """How many attempts were retries."""
        return max(len(self.attempts) - 1, 0)

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at the output limit (`max_tokens`)."""
        return finish_kind(self.finish_reason) == "length"

    @property
    def cost(self) -> Cost:
        """What it cost. A member that is a mixture costs what the calls inside do."""
        return Cost.of(_prices([self]))


class OutlinedNode(BaseModel):
    """A node of a graph: its id, its name, and its metadata (`layer`, `proposer`, `model`)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    id: str
    name: str
    metadata: dict[str, JsonValue] = {}


class OutlinedEdge(BaseModel):
    """An edge of a graph, and whether it is conditional."""

    model_config = ConfigDict(frozen=True)

    source: str
    target: str
    label: str | None = None
    conditional: bool = False


class Outline(BaseModel):
    """A graph as plain data: its nodes and edges.

    Attributes:
        nodes: The nodes.
        edges: The edges.
    """

    model_config = ConfigDict(frozen=True)

    nodes: list[OutlinedNode]
    edges: list[OutlinedEdge]

    def graph(self) -> Graph:
        """Return LangChain's graph, which can be drawn."""
        nodes = {node.id: Node(node.id, node.name, None, dict(node.metadata) or None) for node in self.nodes}
        return Graph(nodes, [Edge(each.source, each.target, each.label, each.conditional) for each in self.edges])


class MoARun(BaseModel):
    """One answer of a mixture, as `record_moa` records it: who was asked what, when, with which result, at what cost.

    It holds plain data and no secrets: the keys of the members and of the environment are redacted. Times are seconds since the
    run began.

    Attributes:
        version: The version of the JSON form.
        id: The run's id, the same as in traces.
        started: When it began.
        seconds: How long it took.
        status: `ok`; `failed`; `cancelled` if the caller left; `interrupted` if the graph waits to be resumed.
        error: Why it failed, without secrets.
        finish_reason: Why the writer of the answer stopped, in the provider's own word; `None` where that is not known.
        question: The conversation that was answered.
        answer: The answer; `None` if there is none.
        calls: Every call, in the order of layers and proposers; the aggregator's last.
        read: Layer and proposer of each reference that the answer was written from, in the order of reading; `None` where that
            is not known.
        outcome: What else is known of the answer: `selected` if it is one of the references, `stopped` if the layers ended
            early, `degraded` and `fell_back` if members failed.
        mixture: The mixture, as `Mixture.describe` returns it; `None` if the run ended before that was known.
        config: The mixture as a configuration file; `None` if it is made of objects, which no file can hold.
        parameters: The parameters of this call: `temperature`, `stop`, tools, ...
        graph: The graph's nodes and edges.
        versions: The versions of Python and of the main packages.

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
        """Show the main figures, not the texts."""
        figures = f"calls={len(self.calls)}, seconds={self.seconds:.1f}"
        return f"{type(self).__name__}(id={self.id!r}, status={self.status!r}, {figures})"

    __str__ = __repr__

    @property
    def text(self) -> str:
        """The answer's text; empty if there is no answer."""
        return "" if self.answer is None else self.answer.text

    @property
    def layers(self) -> list[list[CallRecord]]:
        """The proposers' calls, a list for each layer."""
        proposed = [call for call in self.calls if call.role == "proposer"]
        deepest = max((call.layer or 0 for call in proposed), default=0)
        return [[call for call in proposed if call.layer == number] for number in range(1, deepest + 1)]

    @property
    def references(self) -> list[CallRecord]:
        """The references that the answer was written from, in the proposers' order.

        Where the run does not record them, these are the references that were kept of the last layer that has any.
        """
        if self.read is not None:
            return [call for call in self.calls if call.role == "proposer" and (call.layer, call.proposer) in self.read]
        for layer in reversed(self.layers):
            if good := [call for call in layer if call.status == "ok" and call.kept is not False and call.text]:
                return good
        return []

    @property
    def tokens(self) -> tuple[int, int] | None:
        """The input and output tokens of all calls; `None` where no provider counted any."""
        return tokens_of(self.calls)

    @property
    def uncounted(self) -> int:
        """How many successful calls have no token count; `tokens` are then less than what was used."""
        return sum(call.status == "ok" and not call.usage for call in self.calls)

    @property
    def cost(self) -> Cost:
        """What all calls cost, and how many of them have a known price."""
        return Cost.of(_prices(self.calls))

    @property
    def cost_usd(self) -> float | None:
        """The US dollars of all calls; `None` if the price of one that was paid for is not known."""
        return self.cost.total_usd

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at the output limit (`max_tokens`)."""
        if self.finish_reason is not None or self.answer is None:
            return finish_kind(self.finish_reason) == "length"
        # An answer that was chosen has the finish reason of its reference.
        writers = [call for call in self.calls if call.role == "aggregator" and call.status == "ok"][-1:]
        chosen = [call for call in self.references if call.text_read == self.text] if "selected" in self.outcome else writers
        return any(call.is_cut for call in chosen)

    @property
    def is_degraded(self) -> bool:
        """Whether there is an answer, but members failed or were late, or it was cut at `max_tokens`."""
        return self.status == "ok" and bool(self.is_cut or self.outcome.get("degraded") or self.missing)

    @property
    def missing(self) -> dict[str, int]:
        """How many calls have no answer, by status: `{"late": 3, "failed": 1}`."""
        statuses = [call.status for call in self.calls]
        return {status: statuses.count(status) for status in ("failed", "late", "cancelled") if status in statuses}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the run as JSON, and write it to a file if one is given.

        Args:
            path: The file; only its owner may read it. An existing file is replaced as a whole. Default: none.

        Raises:
            OSError: The file cannot be written; the text names it and the reason.
        """
        from langchain_moa.runs.files import json_of, write_text

        text = json_of(self, indent=2) + "\n"
        if path is not None:
            write_text(path, text)
        return text

    @classmethod
    def from_json(cls, source: str | bytes | os.PathLike[str]) -> Self:
        """Read a run from JSON.

        Args:
            source: The JSON text, or a `Path` to a file that holds it.

        Raises:
            ValueError: It is no run, or of a version that this release does not know.
            OSError: The file cannot be read.
        """
        text = source if isinstance(source, (str, bytes)) else Path(source).read_bytes()
        return cls.model_validate_json(text)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the run as one self-contained page, and write it to a file if one is given.

        The page works from disk and without scripts. It loads nothing and runs nothing that a model wrote.

        Args:
            path: The file; only its owner may read it. An existing file is replaced as a whole. Default: none.

        Raises:
            ImportError: The extra `report` is not installed.
            OSError: The file cannot be written; the text names it and the reason.
        """
        from langchain_moa.runs.files import write_text
        from langchain_moa.runs.run_page import run_page

        page = run_page(self)
        if path is not None:
            write_text(path, page)
        return page

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the run to a file, in the format that the file's suffix names.

        Args:
            path: The file: `.html` for the page, `.json` for the run, `.jsonl` to append it to the runs of that file.

        Returns:
            The file's path.

        Raises:
            ValueError: The file has another suffix.
            OSError: The file cannot be written; the text names it and the reason.
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
        """Show the page in a notebook, in a frame."""
        from langchain_moa.runs.page import framed

        return framed(self.to_html())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


def tokens_of(calls: Iterable[CallRecord]) -> tuple[int, int] | None:
    """Return the input and output tokens of calls; `None` where no provider counted any."""
    counted = [call.usage for call in calls if call.usage]
    if not counted:
        return None
    read, written = (sum(_number(usage.get(key)) for usage in counted) for key in ("input_tokens", "output_tokens"))
    return read, written


def cost_of(calls: Iterable[CallRecord]) -> Cost:
    """Return what calls cost, and how many of them have a known price."""
    return Cost.of(_prices(calls))


def _prices(calls: Iterable[CallRecord]) -> Iterator[float | None]:
    """Yield the price of each call that was paid for."""
    for call in calls:
        if call.cost_usd is None and call.runs:
            yield from _prices(inner for run in call.runs for inner in run.calls)
        # A call without tokens and without an answer cost nothing that is known.
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
