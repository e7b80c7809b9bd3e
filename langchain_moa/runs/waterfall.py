"""The waterfall: when each call waited, was sent, said its first word and was done, as bars on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_moa.runs import figures
from langchain_moa.runs.run import cost_of, tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.runs.call import Attempt, Call
    from langchain_moa.runs.run import MoARun

WIDTH = 1000.0
"""Units of the scale, from the run's begin to its end."""

# What is shorter would not be seen.
_NARROWEST = 3.0

Kind: TypeAlias = Literal["queued", "before", "ok", "failed", "late", "cancelled", "pause"]


@dataclass(frozen=True)
class Bar:
    """A part of a call's time, on the scale."""

    kind: Kind
    x: float
    width: float


@dataclass(frozen=True)
class Row:
    """A call in the waterfall: the call, its bars, where its first word is marked, and the rows of mixtures inside.

    Beside it stands the answer of its own run, which is another one inside of a mixture.
    """

    call: Call
    answer: str
    anchor: str
    bars: tuple[Bar, ...]
    first_token: float | None
    title: str
    detail: str
    words: str
    times: str
    tokens: tuple[int, int] | None
    inside: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A layer of the waterfall, or what comes after the layers, with its totals."""

    title: str
    rows: tuple[Row, ...]
    calls: int
    tokens: tuple[int, int] | None
    cost_usd: float | None
    seconds: float | None


@dataclass(frozen=True)
class Tick:
    """A mark on the scale: where it stands in per cent, and what it says."""

    at: float
    words: str


def ticks_of(run: MoARun) -> list[Tick]:
    """Return the marks of a run's scale."""
    end = _length(run)
    return [Tick(round(100 * value / end, 3), figures.exact_seconds(value)) for value in figures.ticks(end)]


def stages_of(run: MoARun) -> list[Stage]:
    """Return a run's calls by layer, and then those that wrote the answer, each as a row of the waterfall."""
    scale = _Scale(0.0, _length(run))
    anchors = {id(call): f"call-{number}" for number, call in enumerate(run.calls, start=1)}
    groups: dict[str, list[Call]] = {}
    for call in run.calls:
        groups.setdefault(f"Layer {call.layer}" if call.layer is not None else "Answer", []).append(call)
    stages = []
    for title, calls in groups.items():
        rows = tuple(_row(call, scale, anchors[id(call)], run) for call in calls)
        stages.append(Stage(title, rows, len(calls), tokens_of(calls), cost_of(calls), _spanned(calls)))
    return stages


def _length(run: MoARun) -> float:
    return max([run.seconds, *(call.done or 0.0 for call in run.calls), 1e-6])


def _spanned(calls: Sequence[Call]) -> float | None:
    begins = [call.queued for call in calls if call.queued is not None]
    ends = [call.done for call in calls if call.done is not None]
    return max(ends) - min(begins) if begins and ends else None


@dataclass(frozen=True)
class _Scale:
    offset: float
    seconds: float

    def at(self, seconds: float) -> float:
        return round(min(max((seconds + self.offset) / self.seconds, 0.0), 1.0) * WIDTH, 2)

    def bar(self, kind: Kind, begin: float, end: float) -> Bar:
        x = min(self.at(begin), WIDTH - _NARROWEST)
        return Bar(kind, x, round(max(self.at(end) - x, _NARROWEST if kind not in {"queued", "pause"} else 0.0), 2))


def _row(call: Call, scale: _Scale, anchor: str, run: MoARun) -> Row:
    inside: list[Row] = []
    for nested in call.runs:
        offset = scale.offset + (nested.started - run.started).total_seconds()
        inner = _Scale(offset, scale.seconds)
        first = len(inside) + 1
        inside += [_row(each, inner, f"{anchor}-{number}", nested) for number, each in enumerate(nested.calls, start=first)]
    return Row(
        call=call,
        answer=run.text,
        anchor=anchor,
        bars=tuple(_bars(call, scale)),
        first_token=None if call.first_token is None else scale.at(call.first_token),
        title=call.name,
        detail=_detail(call),
        words=_words(call),
        times=_times(call),
        tokens=tokens_of([call]),
        inside=tuple(inside),
    )


def _bars(call: Call, scale: _Scale) -> Iterator[Bar]:
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


def _kind(call: Call, attempt: Attempt, *, is_last: bool) -> Kind:
    # Of the last attempt, what the mixture made of it: one that was given up may be late, and an empty answer failed.
    return call.status if is_last else attempt.status


def _detail(call: Call) -> str:
    place = {"proposer": f"proposer {call.proposer}", "aggregator": "aggregator", "step": call.node}[call.role]
    return place if call.name == call.model else f"{place}, {call.model}"


def _words(call: Call) -> str:
    said: str = "answered" if call.status == "ok" else call.status
    if call.retries:
        said += f", {call.retries} {'retry' if call.retries == 1 else 'retries'}"
    if call.status == "ok" and call.kept is False:
        said += ", left out"
    return said


def _times(call: Call) -> str:
    """Return the times in words, for those who cannot see the bars."""
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
