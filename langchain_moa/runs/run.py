"""A recorded run: one answer of a mixture, with every call behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from langchain_moa.data.reference import Failure
from langchain_moa.runs.call import Call
from langchain_moa.runs.message import Message
from langchain_moa.runs.outline import Outline

if TYPE_CHECKING:
    import os

FORMAT: Literal[1] = 1
"""The version of the JSON form. Fields may be added within a version; what a field means changes only with it."""


class MoARun(BaseModel):
    """One answer of a mixture, recorded by `record_moa`: what was asked of whom, when, what came of it, what it cost.

    It holds plain data and no secret: keys of the members and of the environment are masked wherever they stand. Times are
    seconds since the run began.

    Attributes:
        version: The version of the JSON form.
        id: The run's id, the same as in traces.
        started: When it began.
        seconds: How long it took.
        status: `ok`; `failed`; `cancelled` if its caller left; `interrupted` if the graph waits to be resumed.
        error: Why it failed, without secrets.
        question: The conversation that was answered.
        answer: The answer; `None` if there is none.
        calls: Every call, in the order of layers and proposers; the aggregator's last.
        read: Layer and proposer of each reference that the answer was written from, in the order of reading; `None` where that
            is not known, as of a run that did not come so far.
        outcome: What else is known of the answer: `selected` where it is one of the references, `stopped` where the layers
            ended early, `degraded` and `fell_back` where it had to do without some members.
        mixture: The mixture, as `Mixture.describe` gives it; `None` if the run ended before that was known.
        config: The mixture as a configuration file would have it; `None` where it is made of objects, which none can hold.
        parameters: What came with the call: `temperature`, `stop`, tools, ...
        graph: The graph's nodes and edges.
        versions: Of Python and of the packages that matter.

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
    question: list[Message] = []
    answer: Message | None = None
    calls: list[Call] = []
    read: list[tuple[int, int]] | None = None
    outcome: dict[str, JsonValue] = {}
    mixture: dict[str, JsonValue] | None = None
    config: dict[str, JsonValue] | None = None
    parameters: dict[str, JsonValue] = {}
    graph: Outline | None = None
    versions: dict[str, str] = {}

    def __repr__(self) -> str:
        """Show what it was and how it ended, and not all that was said in it."""
        figures = f"calls={len(self.calls)}, seconds={self.seconds:.1f}"
        return f"{type(self).__name__}(id={self.id!r}, status={self.status!r}, {figures})"

    __str__ = __repr__

    @property
    def text(self) -> str:
        """The answer's text; empty if there is no answer."""
        return "" if self.answer is None else self.answer.text

    @property
    def layers(self) -> list[list[Call]]:
        """The proposers' calls, a list for each layer."""
        proposed = [call for call in self.calls if call.role == "proposer"]
        deepest = max((call.layer or 0 for call in proposed), default=0)
        return [[call for call in proposed if call.layer == number] for number in range(1, deepest + 1)]

    @property
    def tokens(self) -> tuple[int, int] | None:
        """The tokens of all calls, read and written; `None` where no provider counted any."""
        return tokens_of(self.calls)

    @property
    def uncounted(self) -> int:
        """How many successful calls nobody counted the tokens of; `tokens` are then less than what was used."""
        return sum(call.status == "ok" and not call.usage for call in self.calls)

    @property
    def cost_usd(self) -> float | None:
        """The dollars of all calls; `None` where the price of one that cost something is not known."""
        return cost_of(self.calls)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the run as JSON, and write it to a file if one is given.

        Args:
            path: The file. Default: none.

        Raises:
            OSError: The file cannot be written.
        """
        text = self.model_dump_json(indent=2) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
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
        """Return the run as one page that needs nothing else, and write it to a file if one is given.

        The page works from disk and without scripts, loads nothing, and runs nothing of what the models have said.

        Args:
            path: The file. Default: none.

        Raises:
            OSError: The file cannot be written.
        """
        from langchain_moa.runs.page import run_page

        page = run_page(self)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the run to a file, in the form that the file's name ends in.

        Args:
            path: The file: `.html` for the page, `.json` for the run, `.jsonl` to append it to the runs of that file.

        Returns:
            The file's path.

        Raises:
            ValueError: The file's name ends in anything else.
            OSError: The file cannot be written.
        """
        from langchain_moa.runs.files import save_run

        return save_run(self, path)

    def _repr_html_(self) -> str:
        """Show the page in a notebook, apart from the notebook's own."""
        from langchain_moa.runs.page import framed

        return framed(self.to_html())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


def tokens_of(calls: list[Call]) -> tuple[int, int] | None:
    """Return the tokens of calls, read and written; `None` where no provider counted any."""
    counted = [call.usage for call in calls if call.usage]
    if not counted:
        return None
    read, written = (sum(_number(usage.get(key)) for usage in counted) for key in ("input_tokens", "output_tokens"))
    return read, written


def cost_of(calls: list[Call]) -> float | None:
    """Return the dollars of calls; `None` where the price of one that cost something is not known."""
    # Who gave no tokens and no answer has cost nothing that anyone knows of.
    paid = [call for call in calls if call.usage or call.status == "ok"]
    costs = [call.cost_usd for call in paid if call.cost_usd is not None]
    return sum(costs) if paid and len(costs) == len(paid) else None


def _number(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


Call.model_rebuild(_types_namespace={"MoARun": MoARun})
