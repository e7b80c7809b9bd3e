"""Mermaid: a drawing as a text that GitHub, GitLab, notebooks and many editors turn into a picture."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from langchain_moa.drawing import text
from langchain_moa.drawing.diagram import Source, read
from langchain_moa.drawing.palette import EMPHASIS
from langchain_moa.drawing.parts import Edge, Group, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What could end a label, or be read as markup or Markdown inside it.
_SPECIAL = re.compile(r"[^\w .,:/@+-]")
_ORDINAL = re.compile(r"^(\d+)([.)])")
_SHAPES = {
    Kind.START: "(({}))",
    Kind.END: "((({})))",
    Kind.MERGE: "([{}])",
}
_CARD = "({})"
_BOX_STYLE = "fill:#8b949e1f,stroke:#8b949e66"  # lets the page shine through, be it light or dark
_LAST_STYLE = f"fill:{EMPHASIS[0]},stroke:{EMPHASIS[1]},color:#ffffff"


def draw_mermaid(graph: Source, *, title: str | None = None) -> str:
    """Draw a graph as a Mermaid flowchart: left to right, a box for each layer, the models' names in the nodes.

    Args:
        graph: What to draw: a compiled graph, a `StateGraph`, the `Graph` that `get_graph()` returns, or a mixture.
        title: A heading above the drawing. Defaults to none.

    Returns:
        The chart's text. In Markdown it belongs into a code block with the language `mermaid`.

    Raises:
        TypeError: If `graph` is nothing that has a graph.
        ValueError: If the graph has no nodes.

    Example:
        ```python
        from langchain_moa import create_moa
        from langchain_moa.drawing import draw_mermaid

        print(draw_mermaid(create_moa(["openai:gpt-6-luna", "openai:gpt-6.1-terra"], "openai:gpt-6.1-sol")))
        ```
    """
    diagram = read(graph)
    names = _Names()
    lines = [*_front(title), "flowchart LR", *_children(diagram.root, names, "    ")]
    lines += [f"    {line}" for line in _edges(diagram.edges, names)]
    last = [names.of[node.id] for node in diagram.root.nodes() if node.answers]
    lines += [f"    {line}" for line in (*_class("box", _BOX_STYLE, names.groups), *_class("last", _LAST_STYLE, last))]
    return "\n".join(lines) + "\n"


class _Names:
    """The ids that nodes and boxes have in a chart: their own, as far as Mermaid takes these.

    Attributes:
        of: The ids of the nodes so far, by their ids in the graph.
        groups: The ids of the boxes so far.
    """

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self.groups: list[str] = []
        self._used: set[str] = set()

    def add(self, node: Node) -> str:
        """Return a new id for a node."""
        # A chart has words of its own ("end", "class", "o" or "x" after a line); none of them begins like this.
        self.of[node.id] = self._new(f"step_{node.id}" if node.kind in {Kind.STEP, Kind.CHOICE} else node.id)
        return self.of[node.id]

    def add_group(self, group: Group) -> str:
        """Return a new id for a box."""
        self.groups.append(self._new(f"box_{group.title}"))
        return self.groups[-1]

    def _new(self, wanted: str) -> str:
        plain = re.sub(r"\W+", "_", wanted, flags=re.ASCII).lower()
        numbered = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        name = next(name for name in numbered if name not in self._used)
        self._used.add(name)
        return name


def _front(title: str | None) -> list[str]:
    heading = text.clean(title).replace("\\", "\\\\").replace('"', '\\"') if title else ""
    return ["---", f'title: "{heading}"', "---"] if heading else []


def _class(name: str, style: str, members: Sequence[str]) -> list[str]:
    return [f"classDef {name} {style}", f"class {','.join(members)} {name}"] if members else []


def _children(group: Group, names: _Names, indent: str) -> Iterator[str]:
    for child in group.children:
        if isinstance(child, Node):
            yield indent + names.add(child) + _SHAPES.get(child.kind, _CARD).format(_label(child))
        else:
            yield f'{indent}subgraph {names.add_group(child)}["{_escaped(child.title)}"]'
            yield f"{indent}    direction {'TB' if child.layer else 'LR'}"
            yield from _children(child, names, f"{indent}    ")
            yield f"{indent}end"


def _label(node: Node) -> str:
    if node.kind in {Kind.START, Kind.END, Kind.MERGE}:
        return f'"{_escaped(node.title)}"'
    # The whole model id, unbroken, even where the node is called after it: this is a text, and texts are searched.
    title, model = node.caption if node.is_mixture else (node.title, node.model)
    below = f"<br/>{_escaped(model)}" if model not in {None, title} else ""
    return f'"<b>{_escaped(title)}</b>{below}"'


def _edges(edges: Sequence[Edge], names: _Names) -> Iterator[str]:
    """Yield a line for each fan of like edges, out of one node or into one."""
    out: dict[tuple[str, bool, str | None], list[str]] = {}
    for edge in edges:
        out.setdefault((names.of[edge.source], edge.conditional, edge.label), []).append(names.of[edge.target])
    into: dict[tuple[tuple[str, ...], bool, str | None], list[str]] = {}
    for (source, conditional, label), targets in out.items():
        into.setdefault((tuple(targets), conditional, label), []).append(source)
    for (fan, conditional, label), sources in into.items():
        line = "-.->" if conditional else "-->"
        note = f'|"{_escaped(label)}"|' if label else ""
        yield f"{' & '.join(sources)} {line}{note} {' & '.join(fan)}"


def _escaped(content: str) -> str:
    """Return a text as a label has it, every character that could mean something to Mermaid as its code."""
    coded = _SPECIAL.sub(lambda match: f"#{ord(match[0])};", content)
    return _ORDINAL.sub(lambda match: f"{match[1]}#{ord(match[2])};", coded)
