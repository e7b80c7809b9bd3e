"""The summary of many runs: how long they took, what they cost, whose answers were used, what failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from langchain_moa.runs.figures import dollars, exact_dollars, exact_seconds, seconds
from langchain_moa.runs.plot import histogram
from langchain_moa.runs.support import support_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from langchain_moa.runs.call import Call
    from langchain_moa.runs.plot import Histogram
    from langchain_moa.runs.run import MoARun

# Rows beyond which a table of single runs is no summary.
_MOST_LISTED = 200


@dataclass
class MemberSummary:
    """What became of one member over all runs.

    Attributes:
        name: Its name.
        model: Its model id.
        calls: How often it was called.
        retries: How often a call was tried again.
        statuses: How often each status came of it.
        shares: Its share of each answer that it was read for, from 0 to 1.
        seconds: How long each answer took.
        costs: The dollars of each call whose price is known.
    """

    name: str
    model: str
    calls: int = 0
    retries: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    shares: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    @property
    def share(self) -> float | None:
        """Its mean share of the answers; `None` if nobody read it."""
        return fmean(self.shares) if self.shares else None

    @property
    def median_seconds(self) -> float | None:
        """The median of its answers' times."""
        return median(self.seconds) if self.seconds else None

    @property
    def cost_usd(self) -> float | None:
        """The dollars of its calls, `None` where no price is known."""
        return sum(self.costs) if self.costs else None

    @property
    def failures(self) -> int:
        """How many of its calls gave no answer."""
        return self.calls - self.statuses["ok"]

    def add(self, call: Call) -> None:
        """Count a call."""
        self.calls += 1
        self.retries += call.retries
        self.statuses[call.status] += 1
        if call.status == "ok" and call.seconds is not None:
            self.seconds.append(call.seconds)
        if call.cost_usd is not None:
            self.costs.append(call.cost_usd)


@dataclass(frozen=True)
class Listed:
    """A run in the list: what one line of it shows."""

    title: str
    run: MoARun


@dataclass
class Summary:
    """Figures over many runs.

    Attributes:
        statuses: How many runs ended in each way.
        seconds: How long those took that were answered.
        costs: The dollars of those whose price is known.
        tokens: The tokens of all calls.
        uncounted: How many answered calls nobody counted the tokens of.
        own: How much of each answer no reference supports.
        proposers: The proposers, by name and model.
        writers: Those that wrote the answers, and all other members.
        failures: How often a member failed for a reason, by member, status and kind.
        listed: The latest runs.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    tokens: int = 0
    uncounted: int = 0
    own: list[float] = field(default_factory=list)
    proposers: dict[tuple[str, str], MemberSummary] = field(default_factory=dict)
    writers: dict[tuple[str, str], MemberSummary] = field(default_factory=dict)
    failures: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    listed: list[Listed] = field(default_factory=list)

    @classmethod
    def of(cls, runs: Iterable[MoARun]) -> Summary:
        """Return the summary of runs, which are read once and not kept but for the list."""
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
        """The proposers, the one with the largest share first."""
        return sorted(self.proposers.values(), key=lambda each: (-(each.share or 0.0), each.name))

    @property
    def latency(self) -> Histogram | None:
        """How the times are spread."""
        return histogram(self.seconds)

    @property
    def cost(self) -> Histogram | None:
        """How the costs are spread."""
        return histogram(self.costs)

    def add(self, run: MoARun) -> None:
        """Count a run."""
        from langchain_moa.runs.page import title_of

        self.statuses[run.status] += 1
        if run.status == "ok":
            self.seconds.append(run.seconds)
        if run.cost_usd is not None:
            self.costs.append(run.cost_usd)
        self.tokens += sum(run.tokens or ())
        self.uncounted += run.uncounted
        for call in run.calls:
            members = self.proposers if call.role == "proposer" else self.writers
            members.setdefault((call.name, call.model), MemberSummary(call.name, call.model)).add(call)
            if call.status != "ok":
                self.failures[call.name, call.status, call.error["kind"] if call.error else "no reason given"] += 1
        if (support := support_of(run)) is not None:
            self.own.append(support.own)
            shares: Counter[tuple[str, str]] = Counter()
            for call, share in zip(support.references, support.shares, strict=True):
                # One model may stand there many times, and all its samples are its share.
                shares[call.name, call.model] += share  # type: ignore[assignment]  # a Counter adds floats up, too
            for member, whole in shares.items():
                self.proposers[member].shares.append(whole)
        # Of its calls, the list shows nothing.
        self.listed.append(Listed(title_of(run), run.model_copy(update={"graph": None, "mixture": None})))
        del self.listed[:-_MOST_LISTED]


def summary_html(runs: Iterable[MoARun], path: str | os.PathLike[str] | None = None) -> str:
    """Return a page that sums many runs up, and write it to a file if one is given.

    Args:
        runs: The runs, those of `read_runs` for example.
        path: The file. Default: none.

    Raises:
        ValueError: There are no runs.
        OSError: The file cannot be written.

    Example:
        ```python
        from langchain_moa.runs import read_runs, summary_html

        summary_html(read_runs("runs.jsonl"), "summary.html")
        ```
    """
    from langchain_moa.runs.page import page
    from langchain_moa.runs.support import MEASURE

    summary = Summary.of(runs)
    if not summary.runs:
        msg = "runs: there are none to sum up; record some with `langchain-moa ask --report runs.jsonl` or record_moa"
        raise ValueError(msg)
    text = page(
        "summary.html.j2",
        title=f"{summary.runs:,} {'run' if summary.runs == 1 else 'runs'}",
        summary=summary,
        measure=MEASURE,
        in_seconds=(seconds, exact_seconds),
        in_dollars=(dollars, exact_dollars),
    )
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
