"""PNG: a drawing as pixels, made by resvg from the SVG.

Why resvg (`resvg-py`): one small wheel (1 MB) without dependencies, for Linux (glibc and musl), macOS and Windows, that draws
the very SVG that browsers show, so there is one look and one layout. Of the others, skia-python needs the system's OpenGL
libraries, cairosvg its cairo; typst is thirty times the size and sets all text in a book face; Pillow's built-in font has no
accented letters and its lines no smooth edges. resvg brings no font, and without one it leaves texts out, so Roboto comes
along (`fontpkg-roboto`: Latin, Greek, Cyrillic): the drawing looks the same on a machine without any font. What Roboto lacks
is taken from the machine's own fonts, and stands as an empty box where these lack it too.
"""

from __future__ import annotations

import re
from importlib import import_module

from langchain_moa.drawing.diagram import Source, read
from langchain_moa.drawing.svg import render

FONT = "Roboto"
MAX_SCALE = 8.0  # a large mixture is then a hundred million pixels

# What Roboto has for certain: Latin, Greek, Cyrillic and their punctuation. The machine's fonts are looked through only for
# more than that, so that most drawings are the same on every machine.
_COVERED = re.compile("[\n -~\xa0-\u017f\u0391-\u03a1\u03a3-\u03ce\u0400-\u0486\u2013\u2014\u2018-\u201e\u2026\ufffd]*")


def draw_png(graph: Source, *, title: str | None = None, scale: float = 2.0) -> bytes:
    """Draw a graph as PNG, in the light scheme.

    It takes neither the network nor a browser, only `pip install "langchain-moa[draw]"`.

    Args:
        graph: What to draw: a compiled graph, a `StateGraph`, the `Graph` that `get_graph()` returns, or a mixture.
        title: A heading above the drawing. Defaults to none.
        scale: Pixels for each pixel of the SVG. Defaults to 2, which is sharp on most screens.

    Returns:
        The PNG file's bytes.

    Raises:
        ImportError: If the `draw` extra is not installed.
        TypeError: If `graph` is nothing that has a graph.
        ValueError: If the graph has no nodes, or `scale` is not above 0 and at most 8.

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

        font = import_module("fontpkg").path(FONT)  # not by `import`: it has no types
    except (ImportError, LookupError) as error:
        msg = 'drawing a PNG needs two small packages: pip install "langchain-moa[draw]"; an SVG needs none'
        raise ImportError(msg) from error
    svg = render(read(graph), title=title, fonts=FONT, dark=False)
    covered = _COVERED.fullmatch(svg) is not None
    return resvg_py.svg_to_bytes(svg_string=svg, zoom=scale, font_files=[str(font)], skip_system_fonts=covered)
