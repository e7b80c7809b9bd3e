"""Draw a mixture as PNG: the SVG, rendered by resvg.

`resvg-py` is one small wheel (1 MB) without dependencies, for Linux, macOS and Windows. It renders the same SVG as browsers.
The alternatives need system libraries (skia-python, cairosvg), are much larger (typst), or have no antialiasing (Pillow). resvg
has no font of its own and leaves out text without one, so Roboto (`fontpkg-roboto`: Latin, Greek, Cyrillic) is part of the
extra. Characters that Roboto does not have are taken from system fonts.
"""

from __future__ import annotations

import re
from importlib import import_module

from langchain_moa.drawing.diagram import Source, read
from langchain_moa.drawing.svg import render

FONT = "Roboto"
MAX_SCALE = 8.0  # a large mixture then has about a hundred million pixels

# Characters that Roboto is known to have. System fonts are used only for others, so that most pictures are the same on every
# machine.
_COVERED = re.compile("[\n -~\xa0-\u017f\u0391-\u03a1\u03a3-\u03ce\u0400-\u0486\u2013\u2014\u2018-\u201e\u2026\ufffd]*")


def draw_png(graph: Source, *, title: str | None = None, scale: float = 2.0) -> bytes:
    """Draw a mixture as PNG, with the colours for light pages.

    It needs neither the network nor a browser, only `pip install "langchain-moa[draw]"`.

    Args:
        graph: The mixture's graph: the `StateGraph` that `create_moa()` returns, the compiled graph, or what its `get_graph()`
            returns. Draw other graphs with LangGraph: `graph.get_graph().draw_mermaid()`.
        title: A heading above the picture. Default: none.
        scale: Pixels for each pixel of the SVG, above 0 and at most 8. Default: 2, which is sharp on most screens.

    Returns:
        The bytes of the PNG file.

    Raises:
        ImportError: The `draw` extra is not installed.
        TypeError: `graph` has no graph.
        ValueError: The graph has no nodes or is not that of a mixture, or `scale` is out of range.

    Example:
        ```python
        from IPython.display import Image

        from langchain_moa import create_moa
        from langchain_moa.drawing import draw_png

        Image(draw_png(create_moa(["openai:gpt-6-luna", "openai:gpt-6.1-terra"], "openai:gpt-6.1-sol")))
        ```
    """
    if not 0 < scale <= MAX_SCALE:
        msg = f"scale: {scale} must be above 0 and at most {MAX_SCALE:g}; 2 is sharp on most screens"
        raise ValueError(msg)
    try:
        import resvg_py

        font = import_module("fontpkg").path(FONT)  # `import` would fail type checks: the package has no types
    except (ImportError, LookupError) as error:
        msg = 'drawing a PNG needs other packages: pip install "langchain-moa[draw]"; an SVG needs none'
        raise ImportError(msg) from error
    svg = render(read(graph), title=title, fonts=FONT, dark=False)
    covered = _COVERED.fullmatch(svg) is not None
    return resvg_py.svg_to_bytes(svg_string=svg, zoom=scale, font_files=[str(font)], skip_system_fonts=covered)
