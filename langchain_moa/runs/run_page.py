"""The page of a run: its status, the graph with the status of each member, and a timeline of the calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from langchain_moa.data import figures
from langchain_moa.data.sanitizing import spelled_out
from langchain_moa.mixture.config import written
from langchain_moa.runs.page import page
from langchain_moa.runs.run import cost_of, tokens_of
from langchain_moa.runs.wording import BLEU_MEASURE, MEASURE, difference, wording_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.data.figures import Cost
    from langchain_moa.runs.run import AttemptRecord, CallRecord, MoARun

WIDTH = 1000.0
"""The width of the timeline in SVG units."""

# A shorter bar would be invisible.
_NARROWEST = 3.0

_LONGEST_TITLE = 140

BarKind: TypeAlias = Literal["queued", "before", "ok", "failed", "late", "cancelled", "pause"]


class Badge(NamedTuple):
    """A description of a status, and its kind, which sets the colour: `ok`, `degraded`, `failed`, `late`, `cancelled`, ..."""

    words: str
    kind: str


@dataclass(frozen=True)
class TimelineBar:
    """A part of a call on the timeline."""

    kind: BarKind
    x: float
    width: float


@dataclass(frozen=True)
class TimelineRow:
    """A call on the timeline.

    Attributes:
        call: The call.
        answer: The answer of the run that the call belongs to.
        anchor: The HTML id.
        badge: The status.
        bars: The bars.
        first_token: The position of the first token on the timeline, or `None`.
        detail: The role and the model.
        times: A description of the times, for screen readers.
        inside: The rows of nested runs, if the member is a mixture.
    """

    call: CallRecord
    answer: str
    anchor: str
    badge: Badge
    bars: tuple[TimelineBar, ...]
    first_token: float | None
    detail: str
    times: str
    inside: tuple[TimelineRow, ...] = ()

    @property
    def tokens(self) -> tuple[int, int] | None:
        """The input and output tokens, or `None`."""
        return tokens_of([self.call])


@dataclass(frozen=True)
class TimelineStage:
    """A layer, or the calls after the layers, with its totals."""

    title: str
    rows: tuple[TimelineRow, ...]
    tokens: tuple[int, int] | None
    cost: Cost
    seconds: float | None

    @property
    def missing(self) -> list[Badge]:
        """The number of calls without an answer, by status."""
        statuses = [row.call.status for row in self.rows]
        kinds = (kind for kind in ("failed", "late", "cancelled") if kind in statuses)
        return [Badge(f"{statuses.count(kind)} {kind}", kind) for kind in kinds]


@dataclass(frozen=True)
class ScaleTick:
    """A tick of the time scale: its position in per cent, and its label."""

    at: float
    words: str


@dataclass(frozen=True)
class RunPageView:
    """The view model of a run's page.

    Attributes:
        run: The run.
        title: The question, as a heading.
        badge: The status of the run.
        notes: Remarks on the answer.
        stages: The calls by layer.
        ticks: The ticks of the time scale.
    """

    run: MoARun
    title: str
    badge: Badge
    notes: tuple[str, ...]
    stages: tuple[TimelineStage, ...]
    ticks: tuple[ScaleTick, ...]

    @classmethod
    def of(cls, run: MoARun, *, prefix: str = "") -> RunPageView:
        """Return the view of a run.

        Args:
            run: The run.
            prefix: A prefix of the HTML ids, for pages with several runs. Default: none.
        """
        return cls(run, title_of(run), badge_of(run), tuple(_notes(run)), tuple(stages_of(run, prefix)), tuple(ticks_of(run)))


def run_page(run: MoARun) -> str:
    """Return the HTML page of a run."""
    return page(
        "run.html.j2",
        view=RunPageView.of(run),
        run=run,
        wording=wording_of(run),
        difference=difference,
        measures=(MEASURE, BLEU_MEASURE),
        config=None if run.config is None else written(run.config),
    )


def title_of(run: MoARun) -> str:
    """Return the title of a run: the beginning of its last question."""
    asked = next((message.text for message in reversed(run.question) if message.type == "human"), "")
    words = " ".join(spelled_out(asked[: 10 * _LONGEST_TITLE]).split())
    return words if len(words) <= _LONGEST_TITLE else f"{words[:_LONGEST_TITLE].rstrip()} …"


def badge_of(run: MoARun) -> Badge:
    """Return the status of a run, which is `ok` only if every call has an answer and nothing was cut."""
    if run.status != "ok":
        return Badge(run.status, run.status)
    if not run.is_degraded:
        return Badge("answered", "ok")
    reasons = [f"{number} {status}" for status, number in run.missing.items()]
    if run.is_cut:
        reasons.append("cut at max_tokens")
    return Badge(f"degraded: {', '.join(reasons)}" if reasons else "degraded", "degraded")


def badge_of_call(call: CallRecord) -> Badge:
    """Return the status of a call."""
    is_cut = call.status == "ok" and call.is_cut
    words: list[str] = ["cut at max_tokens" if is_cut else "answered" if call.status == "ok" else call.status]
    if call.retries:
        words.append(f"{call.retries} {'retry' if call.retries == 1 else 'retries'}")
    if call.status == "ok" and call.kept is False:
        words.append("left out")
    return Badge(", ".join(words), "degraded" if is_cut else call.status)


def ticks_of(run: MoARun) -> list[ScaleTick]:
    """Return the ticks of a run's time scale."""
    end = _length(run)
    return [ScaleTick(round(100 * value / end, 3), figures.exact_seconds(value)) for value in figures.ticks(end)]


def stages_of(run: MoARun, prefix: str = "") -> list[TimelineStage]:
    """Return a run's calls by layer, followed by the calls after the layers.

    Args:
        run: The run.
        prefix: A prefix of the HTML ids. Default: none.
    """
    scale = _Scale(0.0, _length(run))
    groups: dict[str, list[TimelineRow]] = {}
    for number, call in enumerate(run.calls, start=1):
        title = f"Layer {call.layer}" if call.layer is not None else "Answer"
        groups.setdefault(title, []).append(_row(call, scale, f"{prefix}call-{number}", run))
    stages = []
    for title, rows in groups.items():
        calls = [row.call for row in rows]
        stages.append(TimelineStage(title, tuple(rows), tokens_of(calls), cost_of(calls), _spanned(calls)))
    return stages


def _notes(run: MoARun) -> Iterator[str]:
    """Yield remarks on an answer."""
    selected, stopped, degraded = (run.outcome.get(key) for key in ("selected", "stopped", "degraded"))
    said = [str(each) for each in degraded] if isinstance(degraded, list) else []
    if run.is_cut and not any("cut at max_tokens" in each for each in said):
        yield "The answer was cut at max_tokens: it ends before the model had finished."
    if isinstance(selected, dict):
        yield f"The answer is the reference of {selected.get('name')}, chosen by {selected.get('by')}."
    if stopped:
        yield f"The layers ended early: {stopped}."
    yield from said


def _length(run: MoARun) -> float:
    return max([run.seconds, *(call.done or 0.0 for call in run.calls), 1e-6])


def _spanned(calls: Sequence[CallRecord]) -> float | None:
    begins = [call.queued for call in calls if call.queued is not None]
    ends = [call.done for call in calls if call.done is not None]
    return max(ends) - min(begins) if begins and ends else None


@dataclass(frozen=True)
class _Scale:
    offset: float
    seconds: float

    def at(self, seconds: float) -> float:
        return round(min(max((seconds + self.offset) / self.seconds, 0.0), 1.0) * WIDTH, 2)

    def bar(self, kind: BarKind, begin: float, end: float) -> TimelineBar:
        x = min(self.at(begin), WIDTH - _NARROWEST)
        return TimelineBar(kind, x, round(max(self.at(end) - x, _NARROWEST if kind not in {"queued", "pause"} else 0.0), 2))


def _row(call: CallRecord, scale: _Scale, anchor: str, run: MoARun) -> TimelineRow:
    inside: list[TimelineRow] = []
    for nested in call.runs:
        inner = _Scale(scale.offset + (nested.started - run.started).total_seconds(), scale.seconds)
        first = len(inside) + 1
        inside += [_row(each, inner, f"{anchor}-{number}", nested) for number, each in enumerate(nested.calls, start=first)]
    return TimelineRow(
        call=call,
        answer=run.text,
        anchor=anchor,
        badge=badge_of_call(call),
        bars=tuple(_bars(call, scale)),
        first_token=None if call.first_token is None else scale.at(call.first_token),
        detail=_detail(call),
        times=_times(call),
        inside=tuple(inside),
    )


def _bars(call: CallRecord, scale: _Scale) -> Iterator[TimelineBar]:
    if call.queued is None:
        return
    before = call.queued
    done = call.done if call.done is not None else call.queued
    for number, attempt in enumerate(call.attempts):
        if attempt.started > before:
            yield scale.bar("pause" if number else "queued", before, attempt.started)
        before = attempt.done if attempt.done is not None else done
        kind = _kind(call, attempt, is_last=number == len(call.attempts) - 1)
        if attempt.first_token is None:
            yield scale.bar(kind, attempt.started, before)
        else:
            yield scale.bar("before", attempt.started, attempt.first_token)
            yield scale.bar(kind, attempt.first_token, before)
    if not call.attempts:
        yield scale.bar("queued" if call.status != "ok" else "ok", before, done)


def _kind(call: CallRecord, attempt: AttemptRecord, *, is_last: bool) -> BarKind:
    # The last attempt has the call's status: an abandoned attempt may be late, and an empty answer failed.
    return call.status if is_last else attempt.status


def _detail(call: CallRecord) -> str:
    place = {"proposer": f"proposer {call.proposer}", "aggregator": "aggregator", "step": call.node}[call.role]
    return place if call.name == call.model else f"{place}, {call.model}"


def _times(call: CallRecord) -> str:
    if call.queued is None:
        return "before this run was resumed"
    parts = [f"queued at {figures.seconds(call.queued)}"]
    if call.attempts:
        parts.append(f"sent at {figures.seconds(call.attempts[0].started)}")
    if call.first_token is not None:
        parts.append(f"first token at {figures.seconds(call.first_token)}")
    if call.done is not None:
        parts.append(f"{'done' if call.status == 'ok' else 'ended'} at {figures.seconds(call.done)}")
    return ", ".join(parts)
