"""Draw a mixture as a Mermaid chart, which GitHub, GitLab, notebooks and many editors render."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_moa.drawing.diagram import Arrow, Box, Kind, Source, Stage, graph_of, is_mixture, read
from langchain_moa.drawing.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters that could end a label, or be interpreted as markup inside it.
_SPECIAL = re.compile(r"[^\w .,:/@+-]")
_ORDINAL = re.compile(r"^(\d+)([.)])")
_OUR_NODE = re.compile(r"__start__|__end__|aggregator|merge_\d+|layer_\d+_proposer_\d+", re.ASCII)
_SHAPES = {Kind.START: "(({}))", Kind.END: "((({})))", Kind.MERGE: "([{}])"}
_FRAME_STYLE = "fill:#8b949e1f,stroke:#8b949e66"  # translucent, for light and dark pages
_ANSWER_STYLE = "fill:#5a48e0,stroke:#5a48e0,color:#ffffff"


def draw_mermaid(graph: Source, *, title: str | None = None) -> str:
    """Draw a graph as a Mermaid flowchart.

    A mixture is drawn from left to right, with a box for each layer and the names of the models in the nodes. Any other graph
    is drawn by LangGraph's own `draw_mermaid()`.

    Args:
        graph: A compiled graph, a `StateGraph`, or the `Graph` that `get_graph()` returns.
        title: A heading above the chart. Default: none.

    Returns:
        The text of the chart. In Markdown, put it into a code block with the language `mermaid`.

    Raises:
        TypeError: `graph` has no graph.
        ValueError: The graph has no nodes.

    Example:
        ```python
        from langchain_moa import create_moa
        from langchain_moa.drawing import draw_mermaid

        print(draw_mermaid(create_moa(["openai:gpt-6-luna", "openai:gpt-6.1-terra"], "openai:gpt-6.1-sol")))
        ```
    """
    drawn, heading = graph_of(graph), clean(title) if title else ""
    if not is_mixture(drawn):
        return drawn.draw_mermaid(frontmatter_config={"title": heading} if heading else None)
    diagram = read(drawn)
    names = _names(list(diagram.boxes()))
    frames = [f"frame_{place}" for place, stage in enumerate(diagram.stages, start=1) if stage.title]
    answers = [names[box.id] for box in diagram.boxes() if box.kind is Kind.ANSWER]
    lines = ["flowchart LR"]
    for place, stage in enumerate(diagram.stages, start=1):
        lines += [f"    {line}" for line in _stage(stage, f"frame_{place}", names)]
    lines += [f"    {line}" for line in _arrows(diagram.arrows, names)]
    for style, css, members in (("frame", _FRAME_STYLE, frames), ("answer", _ANSWER_STYLE, answers)):
        lines += [f"    classDef {style} {css}", f"    class {','.join(members)} {style}"] if members else []
    quoted = heading.replace("\\", "\\\\").replace('"', '\\"')
    front = ["---", f'title: "{quoted}"', "---"] if heading else []
    return "\n".join([*front, *lines]) + "\n"


def _names(boxes: Sequence[Box]) -> dict[str, str]:
    """Return a valid Mermaid id for each node, if possible the node's own."""
    names: dict[str, str] = {}
    for box in boxes:
        # Mermaid reserves words such as "end" and "class", and "o" or "x" after a line. None has this prefix.
        own = box.id if _OUR_NODE.fullmatch(box.id) else f"step_{box.id}"
        name = plain = re.sub(r"\W+", "_", own, flags=re.ASCII).lower()
        number = 1
        while name in names.values():
            number += 1
            name = f"{plain}_{number}"
        names[box.id] = name
    return names


def _stage(stage: Stage, frame: str, names: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a stage. The merge of a layer follows the frame, which gives the best layout."""
    inside = [box for column in stage.columns for box in column if box.kind is not Kind.MERGE]
    if stage.title:
        yield f'subgraph {frame}["{_escaped(stage.title)}"]'
        yield "    direction TB"
    for box in inside:
        yield ("    " if stage.title else "") + _node(box, names)
    if stage.title:
        yield "end"
    for column in stage.columns:
        for box in column:
            if box.kind is Kind.MERGE:
                yield _node(box, names, stage.notes)


def _node(box: Box, names: dict[str, str], notes: Sequence[str] = ()) -> str:
    if box.kind in _SHAPES:
        lines = "<br/>".join(map(_escaped, (box.label, *notes)))
        return names[box.id] + _SHAPES[box.kind].format(f'"{lines}"')
    # The full model id on one line, so that it can be searched.
    below = [box.sublabel] if box.sublabel and box.name == box.label else []
    lines = "<br/>".join([f"<b>{_escaped(box.name)}</b>", *map(_escaped, (*below, *box.notes))])
    return f'{names[box.id]}("{lines}")'


def _arrows(arrows: Sequence[Arrow], names: dict[str, str]) -> Iterator[str]:
    """Yield a line for each group of equal arrows from one node or into one node."""
    out: dict[tuple[str, bool, str | None], list[str]] = {}
    for arrow in arrows:
        out.setdefault((names[arrow.source], arrow.conditional, arrow.label), []).append(names[arrow.target])
    into: dict[tuple[tuple[str, ...], bool, str | None], list[str]] = {}
    for (source, conditional, label), targets in out.items():
        into.setdefault((tuple(targets), conditional, label), []).append(source)
    for (fan, conditional, label), sources in into.items():
        line = "-.->" if conditional else "-->"
        note = f'|"{_escaped(label)}"|' if label else ""
        yield f"{' & '.join(sources)} {line}{note} {' & '.join(fan)}"


def _escaped(content: str) -> str:
    """Escape a text for a label: replace characters that are special in Mermaid by entity codes."""
    coded = _SPECIAL.sub(lambda match: f"#{ord(match[0])};", content)
    return _ORDINAL.sub(lambda match: f"{match[1]}#{ord(match[2])};", coded)
