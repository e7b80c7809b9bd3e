"""The Pareto plot: quality against dollars and seconds."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.figures import Figures

_COLOURS = {"mixture": "#c2410c", "layer": "#f0a070", "member": "#1d4ed8", "self-moa": "#15803d"}
_LONGEST_NAME = 44


def draw_pareto(figures: Sequence[Figures], *, title: str) -> bytes:
    """Draw quality against dollars and seconds as PNG; a line joins what nothing else beats at less.

    Args:
        figures: The figures of the variants.
        title: The heading.

    Raises:
        ImportError: The `eval` extra is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = 'the Pareto plot takes a package: pip install "langchain-moa[eval]"'
        raise ImportError(msg) from error
    axes = [("seconds for an answer", {each.name: each.seconds for each in figures})]
    # With one price unknown, the rest would be a picture of something else.
    if all(each.cost_usd is not None for each in figures):
        axes.insert(0, ("dollars for 1,000 answers", {each.name: 1000 * (each.cost_usd or 0.0) for each in figures}))
    drawing = Figure(figsize=(6.4 * len(axes), 5.6), layout="constrained")
    drawing.suptitle(title)
    names = [f"{number}  {_short(each.name)}" for number, each in enumerate(figures, start=1)]
    points: list[Any] = []
    for place, (label, values) in zip(drawing.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        points = _draw(place, figures, values, label)
    # Names at the points would lie on one another: the best variants are neighbours.
    drawing.legend(points, names, loc="outside lower center", ncols=2 * len(axes), frameon=False, fontsize=8, markerscale=0.6)
    out = BytesIO()
    drawing.savefig(out, format="png", dpi=150)
    return out.getvalue()


def _draw(place: Any, figures: Sequence[Figures], values: dict[str, float], label: str) -> list[Any]:
    """Draw one of the plots, and return its points."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    points = []
    for number, each in enumerate(figures, start=1):
        x, y = values[each.name], 100 * each.score
        error = [[y - 100 * each.low], [100 * each.high - y]]
        colour = _COLOURS[each.kind]
        place.errorbar(x, y, yerr=error, color=colour, capsize=3, elinewidth=1, alpha=0.6, zorder=number + 1)
        points += place.plot(x, y, "o", color=colour, markersize=13, zorder=number + 20)
        place.annotate(str(number), (x, y), color="white", fontsize=8, weight="bold", ha="center", va="center", zorder=50)
    front: list[tuple[float, float]] = []
    for each in sorted(figures, key=lambda each: (values[each.name], -each.score)):
        if not front or 100 * each.score > front[-1][1]:
            front.append((values[each.name], 100 * each.score))
    place.plot(*zip(*front, strict=True), color="#888", linewidth=1, linestyle="--", zorder=0)
    place.set(xlabel=label, ylabel="score, with its 95% interval")
    if min(values.values()) > 0:
        place.set_xscale("log")
        place.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
        place.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        place.xaxis.set_minor_formatter(NullFormatter())
    place.margins(x=0.15, y=0.1)
    place.grid(visible=True, alpha=0.25)
    return points


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
