"""The summary of many runs: times, costs, wording shared with the answers, failures, and the runs themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING

from langchain_moa.runs.figures import Cost, dollars, exact_dollars, exact_seconds, seconds, ticks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from langchain_moa.runs.run import CallRecord, MoARun
    from langchain_moa.runs.run_page import Badge, RunPageView

# The page lists the latest runs, and shows as many of them in full as fit into some megabytes.
_MOST_LISTED = 200
_MOST_CHARACTERS = 3_000_000

# What the page adds to the texts of a call.
_PER_CALL = 2_000

# More columns would show chance rather than shape.
_MOST_COLUMNS = 16


@dataclass(frozen=True)
class HistogramColumn:
    """A column: the values from `low` up to `high`, how many there are, and their `share` of the highest column."""

    low: float
    high: float
    count: int
    share: float


@dataclass(frozen=True)
class Histogram:
    """The distribution of values.

    Attributes:
        columns: The columns, equally wide, from 0.
        ends: The round values between them.
        middle: The median.
        high: The value that 95% do not exceed.
        count: How many values there are.
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
    """What one member did in all runs.

    Attributes:
        name: Its name.
        model: Its model id.
        calls: How many calls it had.
        retries: How many attempts were retries.
        cut: How many answers were cut at `max_tokens`.
        statuses: How many calls ended with each status.
        bleu: The BLEU score of each answer against its reference, from 0 to 100.
        seconds: How long each answer took.
        cost: What its calls cost.
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
        """The mean BLEU score; `None` if no answer was written from its references."""
        return fmean(self.bleu) if self.bleu else None

    @property
    def median_seconds(self) -> float | None:
        """The median time of its answers."""
        return median(self.seconds) if self.seconds else None

    @property
    def failures(self) -> int:
        """How many of its calls have no answer."""
        return self.calls - self.statuses["ok"]

    def add(self, call: CallRecord) -> None:
        """Count a call."""
        self.calls += 1
        self.retries += call.retries
        self.cut += call.status == "ok" and call.is_cut
        self.statuses[call.status] += 1
        self.cost += call.cost
        if call.status == "ok" and call.seconds is not None:
            self.seconds.append(call.seconds)


@dataclass
class FailureSummary:
    """How often a member failed for one reason, and the latest run in which it did."""

    times: int = 0
    latest: int = 0


@dataclass
class RunsSummary:
    """Figures over many runs.

    Attributes:
        statuses: How many runs ended in each way; `degraded` are those with an answer that lacked members or was cut.
        seconds: How long the runs with an answer took.
        costs: The US dollars of the runs in which every price is known.
        cost: What all runs cost together.
        tokens: The tokens of all calls.
        uncounted: How many successful calls have no token count.
        proposers: The proposers, by name and model.
        writers: The aggregators and all other members, by name and model.
        failures: Why calls failed, by member, status and kind.
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
        """Return the summary of runs. They are read once, and only the latest are kept."""
        summary = cls()
        for run in runs:
            summary.add(run)
        return summary

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.statuses.total()

    @property
    def sorted_proposers(self) -> list[MemberSummary]:
        """The proposers, the highest BLEU score first."""
        return sorted(self.proposers.values(), key=lambda each: (-(each.mean_bleu or 0.0), each.name))

    @property
    def sorted_failures(self) -> list[tuple[tuple[str, str, str], FailureSummary]]:
        """The reasons why calls failed, the most frequent first."""
        return sorted(self.failures.items(), key=lambda item: (-item[1].times, item[0]))

    @property
    def failed_calls(self) -> int:
        """How many calls have no answer."""
        return sum(each.times for each in self.failures.values())

    @property
    def latency(self) -> Histogram | None:
        """The distribution of the times."""
        return histogram(self.seconds)

    @property
    def spending(self) -> Histogram | None:
        """The distribution of the costs that are fully known."""
        return histogram(self.costs)

    def add(self, run: MoARun) -> None:
        """Count a run."""
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
    """A run in the list of a summary: its number, its line, and its view, if the page has room for it."""

    number: int
    run: MoARun
    title: str
    badge: Badge
    view: RunPageView | None


def summary_html(runs: Iterable[MoARun], path: str | os.PathLike[str] | None = None) -> str:
    """Return a page that summarizes many runs, and write it to a file if one is given.

    Args:
        runs: The runs, for example those of `read_runs`.
        path: The file; only its owner may read it. An existing file is replaced as a whole. Default: none.

    Raises:
        ImportError: The extra `report` is not installed.
        ValueError: There are no runs.
        OSError: The file cannot be written; the text names it and the reason.

    Example:
        ```python
        from langchain_moa.runs import read_runs, summary_html

        summary_html(read_runs("runs.jsonl"), "summary.html")
        ```
    """
    from langchain_moa.runs.files import write_text
    from langchain_moa.runs.page import page
    from langchain_moa.runs.wording import BLEU_MEASURE

    summary = RunsSummary.of(runs)
    if not summary.runs:
        msg = "runs: there are none to summarize; record some with `langchain-moa ask --report runs.jsonl` or record_moa"
        raise ValueError(msg)
    text = page(
        "summary.html.j2",
        title=f"{summary.runs:,} {'run' if summary.runs == 1 else 'runs'}",
        summary=summary,
        listed=_listed(summary),
        measure=BLEU_MEASURE,
        in_seconds=(seconds, exact_seconds),
        in_dollars=(dollars, exact_dollars),
    )
    if path is not None:
        write_text(path, text)
    return text


def histogram(values: Sequence[float]) -> Histogram | None:
    """Return the distribution of values; `None` if there are none, or all are 0.

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
    """Return the latest runs, the latest first; the page shows as many of them in full as it has room for."""
    from langchain_moa.runs.run_page import RunPageView, badge_of, title_of

    listed, room = [], _MOST_CHARACTERS
    for number, run in reversed(summary.listed.items()):
        room -= _length(run)
        view = RunPageView.of(run, prefix=f"run-{number}-") if room > 0 else None
        listed.append(ListedRun(number, run, title_of(run), badge_of(run), view))
    return listed


def _length(run: MoARun) -> int:
    """Return about how many characters a run takes on the page."""
    of_calls = sum(
        _PER_CALL + len(call.text) + sum(len(message.text) for message in call.prompt) + sum(map(_length, call.runs))
        for call in run.calls
    )
    return len(run.text) + of_calls
