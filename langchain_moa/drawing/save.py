"""Saving a drawing to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.drawing.mermaid import draw_mermaid
from langchain_moa.drawing.png import draw_png
from langchain_moa.drawing.svg import draw_svg

if TYPE_CHECKING:
    import os

    from langchain_moa.drawing.diagram import Source

SUFFIXES = (".svg", ".png", ".mmd", ".md", ".txt")


def save_drawing(graph: Source, path: str | os.PathLike[str], *, title: str | None = None, scale: float = 2.0) -> Path:
    """Draw a graph into a file, in the format that the file's name ends in.

    Args:
        graph: What to draw: a compiled graph, a `StateGraph`, the `Graph` that `get_graph()` returns, or a mixture.
        path: The file: `.svg`; `.png`, which needs `pip install "langchain-moa[draw]"`; `.mmd` and `.txt` for the text of a
            Mermaid chart; `.md` for that chart in a code block, which GitHub shows as a picture.
        title: A heading above the drawing. Defaults to none.
        scale: Of a PNG: pixels for each pixel of the SVG. Defaults to 2.

    Returns:
        The file's path.

    Raises:
        ImportError: If a PNG is asked for and the `draw` extra is not installed.
        OSError: If the file cannot be written.
        TypeError: If `graph` is nothing that has a graph.
        ValueError: If the file's name ends in anything else, or the graph has no nodes.

    Example:
        ```python
        from langchain_moa import create_moa
        from langchain_moa.drawing import save_drawing

        save_drawing(create_moa(["openai:gpt-6-luna", "openai:gpt-6.1-terra"], "openai:gpt-6.1-sol"), "moa.svg")
        ```
    """
    file = Path(path)
    match file.suffix.lower():
        case ".svg":
            content = draw_svg(graph, title=title).encode()
        case ".png":
            content = draw_png(graph, title=title, scale=scale)
        case ".mmd" | ".txt":
            content = draw_mermaid(graph, title=title).encode()
        case ".md":
            content = f"```mermaid\n{draw_mermaid(graph, title=title)}```\n".encode()
        case suffix:
            msg = f"path: {suffix or 'no suffix'!r} of {file.name!r} is no format of drawings; use one of {', '.join(SUFFIXES)}"
            raise ValueError(msg)
    file.write_bytes(content)
    return file
