"""Save a drawing to a file, in the format of its suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.data.files import write_whole
from langchain_moa.drawing.mermaid import draw_mermaid
from langchain_moa.drawing.png import draw_png
from langchain_moa.drawing.svg import draw_svg

if TYPE_CHECKING:
    import os

    from langchain_moa.drawing.diagram import Source

# A drawing has no questions and answers.
_NOT_PRIVATE = 0o666

SUFFIXES = (".svg", ".png", ".mmd", ".md", ".txt")


def save_drawing(graph: Source, path: str | os.PathLike[str], *, title: str | None = None, scale: float = 2.0) -> Path:
    """Draw a graph to a file, in the format of its suffix.

    Args:
        graph: The mixture's graph: the `StateGraph` that `create_moa()` returns, the compiled graph, or what its `get_graph()`
            returns. Other graphs can only be saved as Mermaid.
        path: The file: `.svg`; `.png`, which needs `pip install "langchain-moa[draw]"`; `.mmd` or `.txt` for the text of a
            Mermaid chart; `.md` for that chart in a code block, which GitHub shows as a picture.
        title: A heading above the picture. Default: none.
        scale: For a PNG: pixels for each pixel of the SVG, above 0 and at most 8. Default: 2.

    Returns:
        The path of the file.

    Raises:
        ImportError: The file is a PNG, and the `draw` extra is not installed.
        OSError: The file cannot be written.
        TypeError: `graph` has no graph.
        ValueError: The suffix is unknown, the graph has no nodes, or the format is SVG or PNG and the graph is not that of a
            mixture.

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
            found = suffix or "no suffix"
            msg = f"path: {found!r} of {file.name!r} is not a format of drawings; use one of {', '.join(SUFFIXES)}"
            raise ValueError(msg)
    write_whole(file, content, mode=_NOT_PRIVATE)
    return file
