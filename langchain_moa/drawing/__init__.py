"""Draw a mixture's graph as SVG, PNG or Mermaid, without the network or system libraries."""

from __future__ import annotations

from langchain_moa.drawing.mermaid import draw_mermaid
from langchain_moa.drawing.png import draw_png
from langchain_moa.drawing.save import save_drawing
from langchain_moa.drawing.svg import draw_svg

__all__ = ["draw_mermaid", "draw_png", "draw_svg", "save_drawing"]
