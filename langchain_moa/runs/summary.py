"""The summary page of many runs: times, costs, similarity of references and answers, failures, and a list of runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING

from langchain_moa.data.figures import Cost, counted, dollars, exact_dollars, exact_seconds, seconds, ticks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from langchain_moa.runs.run import CallRecord, MoARun
    from langchain_moa.runs.run_page import Badge, RunPageView

# The page lists the latest runs, and shows the latest in full, up to a total of some megabytes.
_MOST_LISTED = 200
_MOST_CHARACTERS = 3_000_000

# The approximate number of characters of markup per call.
_PER_CALL = 2_000

# More columns would show noise.
_MOST_COLUMNS = 16


@dataclass(frozen=True)
class HistogramColumn:
    """A column: the number of values from `low` up to `high`, as `count` and as a `share` of the highest column."""

    low: float
    high: float
    count: int
    share: float


@dataclass(frozen=True)
class Histogram:
    """The distribution of values.

    Attributes:
        columns: The columns, of equal width, starting at 0.
        ends: The boundaries of the columns, which are round values.
        middle: The median.
        high: The 95th percentile.
        count: The number of values.
    """

    columns: tuple[HistogramColumn, ...]
    ends: tuple[float, ...]
    middle: float
    high: float
    count: int

    @property
    def end(self) -> float:
        """The end of the scale."""
        return self.ends[-1]


@dataclass
class MemberSummary:
    """The figures of one member over all runs.

    Attributes:
        name: The name.
        model: The model id.
        calls: The number of calls.
        retries: The number of retries.
        cut: The number of answers cut at `max_tokens`.
        statuses: The number of calls by status.
        bleu: The BLEU score of each answer against this member's reference, from 0 to 100.
        seconds: The duration of each answered call.
        cost: The cost of its calls.
    """

    name: str
    model: str
    calls: int = 0
    retries: int = 0
    cut: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    bleu: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)

    @property
    def mean_bleu(self) -> float | None:
        """The mean BLEU score, or `None` if no answer was written from its references."""
        return fmean(self.bleu) if self.bleu else None

    @property
    def median_seconds(self) -> float | None:
        """The median duration of its answered calls, or `None`."""
        return median(self.seconds) if self.seconds else None

    @property
    def failures(self) -> int:
        """The number of its calls without an answer."""
        return self.calls - self.statuses["ok"]

    def add(self, call: CallRecord) -> None:
        """Add a call."""
        self.calls += 1
        self.retries += call.retries
        self.cut += call.status == "ok" and call.is_cut
        self.statuses[call.status] += 1
        self.cost += call.cost
        if call.status == "ok" and call.seconds is not None:
            self.seconds.append(call.seconds)


@dataclass
class FailureSummary:
    """The number of failures of a member with the same status and kind, and the number of the latest run with one."""

    times: int = 0
    latest: int = 0


@dataclass
class RunsSummary:
    """Figures over many runs.

    Attributes:
        statuses: The number of runs by status; `degraded` are those whose answer lacked members or was cut.
        seconds: The durations of the runs with an answer.
        costs: The costs in US dollars of the runs in which every price is known.
        cost: The cost of all runs.
        tokens: The tokens of all calls.
        uncounted: The number of successful calls without token counts.
        proposers: The proposers, by name and model.
        writers: The aggregators and all other members, by name and model.
        failures: The failures, by member, status and kind.
        listed: The latest runs by number, from 1.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    tokens: int = 0
    uncounted: int = 0
    proposers: dict[tuple[str, str], MemberSummary] = field(default_factory=dict)
    writers: dict[tuple[str, str], MemberSummary] = field(default_factory=dict)
    failures: dict[tuple[str, str, str], FailureSummary] = field(default_factory=dict)
    listed: dict[int, MoARun] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: Iterable[MoARun]) -> RunsSummary:
        """Return the summary of runs, which are iterated once. Only the latest are kept in memory."""
        summary = cls()
        for run in runs:
            summary.add(run)
        return summary

    @property
    def runs(self) -> int:
        """The number of runs."""
        return self.statuses.total()

    @property
    def sorted_proposers(self) -> list[MemberSummary]:
        """The proposers, by descending BLEU score."""
        return sorted(self.proposers.values(), key=lambda each: (-(each.mean_bleu or 0.0), each.name))

    @property
    def sorted_failures(self) -> list[tuple[tuple[str, str, str], FailureSummary]]:
        """The failures, by descending frequency."""
        return sorted(self.failures.items(), key=lambda item: (-item[1].times, item[0]))

    @property
    def failed_calls(self) -> int:
        """The number of calls without an answer."""
        return sum(each.times for each in self.failures.values())

    @property
    def latency(self) -> Histogram | None:
        """The distribution of durations."""
        return histogram(self.seconds)

    @property
    def spending(self) -> Histogram | None:
        """The distribution of costs, of the runs in which every price is known."""
        return histogram(self.costs)

    def add(self, run: MoARun) -> None:
        """Add a run."""
        from langchain_moa.runs.wording import bleu

        self.statuses["degraded" if run.is_degraded else run.status] += 1
        number = self.runs
        if run.status == "ok":
            self.seconds.append(run.seconds)
        self.cost += run.cost
        if run.cost_usd is not None:
            self.costs.append(run.cost_usd)
        self.tokens += sum(run.tokens or ())
        self.uncounted += run.uncounted
        for call in run.calls:
            members = self.proposers if call.role == "proposer" else self.writers
            members.setdefault((call.name, call.model), MemberSummary(call.name, call.model)).add(call)
            if call.status != "ok":
                reason = (call.name, call.status, call.error["kind"] if call.error else "no reason given")
                failure = self.failures.setdefault(reason, FailureSummary())
                failure.times, failure.latest = failure.times + 1, number
        if run.text.strip():
            for call in run.references:
                self.proposers[call.name, call.model].bleu.append(bleu(run.text, call.text_read))
        self.listed[number] = run.model_copy(update={"graph": None, "mixture": None})
        self.listed.pop(number - _MOST_LISTED, None)


@dataclass(frozen=True)
class ListedRun:
    """A run in the list of a summary, with its full view if there is room for it."""

    number: int
    run: MoARun
    title: str
    badge: Badge
    view: RunPageView | None


def summary_html(runs: Iterable[MoARun], path: str | os.PathLike[str] | None = None) -> str:
    """Return a page that summarizes many runs, and write it to a file if one is given.

    Args:
        runs: The runs, for example those of `read_runs`.
        path: The file, readable only by its owner. An existing file is replaced atomically. Default: none.

    Raises:
        ImportError: The extra `report` is not installed.
        ValueError: There are no runs.
        OSError: The file cannot be written. The message has the file and the reason.

    Example:
        ```python
        from langchain_moa.runs import read_runs, summary_html

        summary_html(read_runs("runs.jsonl"), "summary.html")
        ```
    """
    from langchain_moa.data.files import write_whole
    from langchain_moa.runs.page import page
    from langchain_moa.runs.wording import BLEU_MEASURE

    summary = RunsSummary.of(runs)
    if not summary.runs:
        msg = "runs: there are none to summarize; record some with `langchain-moa ask --report runs.jsonl` or record_moa"
        raise ValueError(msg)
    text = page(
        "summary.html.j2",
        title=counted(summary.runs, "run"),
        summary=summary,
        listed=_listed(summary),
        measure=BLEU_MEASURE,
        in_seconds=(seconds, exact_seconds),
        in_dollars=(dollars, exact_dollars),
    )
    if path is not None:
        write_whole(path, text)
    return text


def histogram(values: Sequence[float]) -> Histogram | None:
    """Return the distribution of values, or `None` if there are none or all are 0.

    Args:
        values: The values, 0 or more.
    """
    top = max(values, default=0.0)
    if top <= 0:
        return None
    ends = ticks(top, _MOST_COLUMNS)
    if ends[-1] < top:
        ends.append(2 * ends[-1] - ends[-2])
    width = ends[1] - ends[0]
    counts = [0] * (len(ends) - 1)
    for value in values:
        counts[min(int(value / width + 1e-9), len(counts) - 1)] += 1
    columns = (
        HistogramColumn(low, high, number, number / max(counts))
        for low, high, number in zip(ends, ends[1:], counts, strict=False)
    )
    high = values[0] if len(values) == 1 else quantiles(values, n=20, method="inclusive")[-1]
    return Histogram(tuple(columns), tuple(ends), median(values), high, len(values))


def _listed(summary: RunsSummary) -> list[ListedRun]:
    """Return the latest runs, newest first, with full views as long as there is room."""
    from langchain_moa.runs.run_page import RunPageView, badge_of, title_of

    listed, room = [], _MOST_CHARACTERS
    for number, run in reversed(summary.listed.items()):
        room -= _length(run)
        view = RunPageView.of(run, prefix=f"run-{number}-") if room > 0 else None
        listed.append(ListedRun(number, run, title_of(run), badge_of(run), view))
    return listed


def _length(run: MoARun) -> int:
    """Return the approximate number of characters of a run on the page."""
    of_calls = sum(
        _PER_CALL + len(call.text) + sum(len(message.text) for message in call.prompt) + sum(map(_length, call.runs))
        for call in run.calls
    )
    return len(run.text) + of_calls
