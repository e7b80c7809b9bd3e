"""Pareto plots of quality against cost, time and calls."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from langchain_moa.evaluation.summary import VariantFigures
    from langchain_moa.evaluation.tuning import Judged


_COLOURS = {"mixture": "#c2410c", "layer": "#f0a070", "member": "#1d4ed8", "self-moa": "#15803d"}
_LONGEST_NAME = 44

# The ratio up to which values count as equal, and the distance of such points as a share of the axis.
_CLOSE = 1.05
_ASIDE = 0.035

# The positions of ticks in each power of ten, by the maximum ratio of the values.
_TICKS = ((10, (1.0, 2.0, 3.0, 5.0, 7.0)), (300, (1.0, 2.0, 5.0)), (float("inf"), (1.0,)))


def draw_pareto(figures: Sequence[VariantFigures], *, title: str) -> bytes:
    """Draw quality against cost and time as PNG, with the Pareto front as a line.

    Args:
        figures: The figures of the variants.
        title: The heading.

    Raises:
        ImportError: The `eval` extra is not installed.
    """
    axes = [("seconds for an answer", [each.seconds for each in figures])]
    # Leave out the plot of costs if a price is unknown, because it would be misleading.
    costs = [1000 * each.cost_usd for each in figures if each.cost_usd is not None]
    if len(costs) == len(figures):
        axes.insert(0, ("dollars for 1,000 answers", costs))
    drawing = _figure(title, columns=len(axes), height=5.6)
    names = [f"{number}  {_short(each.name)}" for number, each in enumerate(figures, start=1)]
    points: list[Any] = []
    for place, (label, values) in zip(drawing.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        points = _draw(place, figures, values, label)
    # A legend, because names at the points would overlap.
    legend = drawing.legend(
        points, names, loc="outside lower center", ncols=2 * len(axes), frameon=False, fontsize=8, markerscale=0.6
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _png(drawing)


def _draw(place: Any, figures: Sequence[VariantFigures], values: Sequence[float], label: str) -> list[Any]:
    """Draw one plot, and return its points."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    points = []
    drawn = _moved(values)
    for number, (each, x) in enumerate(zip(figures, drawn, strict=True), start=1):
        y, colour = 100 * each.score, _COLOURS[each.kind]
        # The mean and the interval of equal scores may differ in the last digit, and matplotlib rejects negative lengths.
        error = [[max(y - 100 * each.low, 0.0)], [max(100 * each.high - y, 0.0)]]
        place.errorbar(x, y, yerr=error, color=colour, capsize=3, elinewidth=1, alpha=0.6, zorder=number + 1)
        points += place.plot(x, y, "o", color=colour, markersize=13, zorder=number + 20, clip_on=False)
        place.annotate(str(number), (x, y), color="white", fontsize=8, weight="bold", ha="center", va="center", zorder=50)
    front: list[tuple[float, float]] = []
    for _, score, x in sorted((value, -each.score, x) for value, each, x in zip(values, figures, drawn, strict=True)):
        if not front or -100 * score > front[-1][1]:
            front.append((x, -100 * score))
    place.plot(*zip(*front, strict=True), color="#888", linewidth=1, linestyle="--", zorder=0)
    place.set(xlabel=label, ylabel="score, with its 95% interval")
    if min(values) > 0:
        place.set_xscale("log")
        place.xaxis.set_major_locator(LogLocator(subs=_ticks(max(values) / min(values))))
        place.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        place.xaxis.set_minor_formatter(NullFormatter())
    place.margins(x=0.15, y=0.1)
    low, high = place.get_ylim()
    # Scores are from 0 to 100; one more point shows the ends of intervals.
    place.set_ylim(max(low, -1), min(high, 101))
    place.grid(visible=True, alpha=0.25)
    return points


def _ticks(spread: float) -> tuple[float, ...]:
    """Return the positions of ticks in each power of ten, fewer for a larger spread."""
    return next(subs for most, subs in _TICKS if spread <= most)


def _moved(values: Sequence[float]) -> list[float]:
    """Return the x positions of points, with nearly equal values side by side, for a logarithmic or linear axis."""
    low, high = min(values), max(values)
    places = side_by_side(values)
    if low > 0:
        return [value * max(high / low, 2) ** (_ASIDE * place) for value, place in zip(values, places, strict=True)]
    return [value + ((high - low) or 1) * _ASIDE * place for value, place in zip(values, places, strict=True)]


def side_by_side(values: Sequence[float]) -> list[float]:
    """Return the horizontal offset of each point, in places, so that points with nearly equal values do not overlap.

    Args:
        values: The values of the points.
    """
    order = sorted(range(len(values)), key=lambda number: values[number])
    groups: list[list[int]] = []
    for number in order:
        if groups and values[number] <= _CLOSE * values[groups[-1][0]]:
            groups[-1].append(number)
        else:
            groups.append([number])
    places = [0.0] * len(values)
    for group in groups:
        for place, number in enumerate(group):
            places[number] = place - (len(group) - 1) / 2
    return places


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def draw_policies(found: Sequence[Judged], chosen: Judged, *, title: str) -> bytes:
    """Draw the score of every policy against calls and, if all prices are known, cost as PNG.

    Args:
        found: The policies, the best single model first.
        chosen: The chosen policy.
        title: The heading.

    Raises:
        ImportError: The `eval` extra is not installed.
    """
    axes = [("calls for an answer", [each.early for each in found])]
    if not any(math.isnan(each.cost_usd) for each in found):
        axes.append(("dollars for 1,000 answers", [1000 * each.cost_usd for each in found]))
    drawing = _figure(title, columns=len(axes), height=4.6)
    for place, (label, values) in zip(drawing.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        for is_alone, name, colour in ((False, "mixture", "#f0a070"), (True, "one model", _COLOURS["member"])):
            points = [(x, 100 * e.score) for x, e in zip(values, found, strict=True) if (e.policy.kind == "alone") == is_alone]
            if points:
                place.plot(*zip(*points, strict=True), "o", color=colour, markersize=5, alpha=0.7, label=name)
        at = values[list(found).index(chosen)]
        place.plot(at, 100 * chosen.score, "o", color=_COLOURS["mixture"], markersize=11, label="chosen", zorder=50)
        place.set(xlabel=label, ylabel="score on the questions of the search")
        place.grid(visible=True, alpha=0.25)
        place.legend(frameon=False, fontsize=8)
    return _png(drawing)


def _figure(title: str, *, columns: int, height: float) -> Figure:
    """Return an empty figure with a title, for a number of plots side by side; the height is in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = 'plots need another package: pip install "langchain-moa[eval]"'
        raise ImportError(msg) from error
    drawing = Figure(figsize=(6.4 * columns, height), layout="constrained")
    # Names may have characters that matplotlib would parse as mathematics.
    drawing.suptitle(title, parse_math=False)
    return drawing


def _png(drawing: Figure) -> bytes:
    out = BytesIO()
    drawing.savefig(out, format="png", dpi=150)
    return out.getvalue()
