"""The parts of a diagram: nodes, edges, and the boxes around them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The provider, the owner and the name; a colon later on belongs to the name ("ollama:gpt-oss:20b").
_MODEL = re.compile(r"([a-z_]+:)?(.*/)?(.*)", re.DOTALL)
# What a mixture that is a member of another one says of itself, before the id of its aggregator.
_MIXTURE = "moa:moa/"


class Kind(Enum):
    """What part a node plays; it decides how the node looks. A choice gives the answer where no aggregator writes one."""

    START = "start"
    END = "end"
    PROPOSER = "proposer"
    MERGE = "merge"
    AGGREGATOR = "aggregator"
    CHOICE = "choice"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        id: Its id in the graph.
        kind: What part it plays.
        title: What it is called.
        model: The id of the model that it calls, if it says so.
        layer: The layer that it belongs to, if it says so.
        stage: What it and those that run beside it are called behind the layers, if there are any.
    """

    id: str
    kind: Kind
    title: str
    model: str | None = None
    layer: str | None = None
    stage: str | None = None

    @property
    def answers(self) -> bool:
        """Whether the answer is its own."""
        return self.kind in {Kind.AGGREGATOR, Kind.CHOICE}

    @property
    def is_mixture(self) -> bool:
        """Whether it is a mixture itself, of which the graph shows no more than that."""
        return self.model is not None and self.model.startswith(_MIXTURE)

    @property
    def caption(self) -> tuple[str, str | None]:
        """What stands on the node: a title, and the model below it.

        A node that is called after its model says no name twice: the model's own name is the title, the provider and the
        owner stand below. Of a mixture, it is said who writes its answers.
        """
        if self.is_mixture:
            writer = f"by {str(self.model).removeprefix(_MIXTURE)}"
            return ("mixture", writer) if self.title == self.model else (self.title, f"mixture {writer}")
        if self.model is None or not self.model.endswith(self.title):
            return self.title, self.model
        provider, owner, name = _MODEL.fullmatch(self.model).groups(default="")  # type: ignore[union-attr]
        return (
            (name, f"{provider}{owner}".rstrip(":/") or None) if self.title in {self.model, name} else (self.title, self.model)
        )

    @property
    def full_name(self) -> str:
        """The name and the model, however long."""
        return self.title if self.model in {None, self.title} else f"{self.title}: {self.model}"


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge, from node id to node id.

    Attributes:
        source: Where it starts.
        target: Where it ends.
        label: What stands on it, if anything.
        conditional: Whether it is taken only sometimes.
    """

    source: str
    target: str
    label: str | None = None
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are drawn in one box: a layer's, or a subgraph's.

    Attributes:
        title: What the box is called.
        children: What it holds, in the order of the graph.
        layer: Whether it is a layer, whose nodes stand side by side.
    """

    title: str
    children: tuple[Node | Group, ...]
    layer: bool = False

    def nodes(self) -> Iterable[Node]:
        """Yield the nodes in the group and in the groups inside it."""
        for child in self.children:
            if isinstance(child, Group):
                yield from child.nodes()
            else:
                yield child


@dataclass(frozen=True, slots=True)
class Diagram:
    """All nodes, in their groups, and all edges."""

    root: Group
    edges: tuple[Edge, ...]
