"""The palette: every colour of a drawing, for a light and a dark page."""

from __future__ import annotations

# Selector, property, colour on a light page, colour on a dark one. The canvas is painted rather than left clear, so that a
# drawing can be read even where the page's scheme and the reader's differ.
COLOURS: tuple[tuple[str, str, str, str], ...] = (
    (".canvas", "fill", "#ffffff", "#0d1117"),
    (".canvas", "stroke", "#d1d9e0", "#30363d"),
    (".group", "fill", "#f6f8fa", "#151b23"),
    (".group", "stroke", "#d8dee4", "#2a313a"),
    (".nest", "fill", "none", "none"),
    (".nest", "stroke", "#b4bdc7", "#454d57"),
    (".card", "fill", "#ffffff", "#212830"),
    (".card", "stroke", "#d1d9e0", "#3d444d"),
    (".pill", "fill", "#eef1f5", "#2a313c"),
    (".pill", "stroke", "#c4ccd6", "#4a525d"),
    (".title", "fill", "#1f2328", "#f0f6fc"),
    (".detail", "fill", "#59636e", "#9198a1"),
    (".line", "stroke", "#98a2ad", "#6b7480"),
    (".head", "fill", "#98a2ad", "#6b7480"),
    (".dashed", "stroke", "#7c6bd6", "#9d8df1"),
    (".tip", "fill", "#7c6bd6", "#9d8df1"),
    (".label", "fill", "#5b46c8", "#b3a6f7"),
    (".halo", "stroke", "#ffffff", "#0d1117"),
    (".chip", "fill", "#ffffff", "#0d1117"),
    (".dot", "fill", "#59636e", "#9198a1"),
    (".ring", "stroke", "#59636e", "#9198a1"),
)

# One for each model, in the order in which the models appear; these stand well on light and on dark cards alike.
ACCENTS = (
    "#6366f1",
    "#10b981",
    "#f59e0b",
    "#f43f5e",
    "#0ea5e9",
    "#a855f7",
    "#14b8a6",
    "#f97316",
    "#ec4899",
    "#84cc16",
    "#3b82f6",
    "#94a3b8",
)

EMPHASIS = ("#4f46e5", "#7c3aed")  # from and to: the aggregator's card, with white text on it
