"""The names of a mixture's nodes, made and read."""

from __future__ import annotations

import re
from typing import NamedTuple

_PROPOSER = re.compile(r"layer_(\d+)_proposer_(\d+)")
_MERGE = re.compile(r"merge_(\d+)")


class Place(NamedTuple):
    """Where a node stands.

    Attributes:
        layer: The layer, from 1; `None` behind the layers.
        proposer: The proposer's place in its layer, from 1; `None` for other nodes.
    """

    layer: int | None = None
    proposer: int | None = None


def proposer_node(layer: int, proposer: int, *, layers: int, proposers: int) -> str:
    """Return the name of a proposer's node.

    Args:
        layer: Its layer, from 1.
        proposer: Its place in the layer, from 1.
        layers: How many layers there are.
        proposers: How many proposers the layer has.
    """
    return f"layer_{_padded(layer, layers)}_proposer_{_padded(proposer, proposers)}"


def merge_node(layer: int, *, layers: int) -> str:
    """Return the name of the node that closes a layer.

    Args:
        layer: The layer, from 1.
        layers: How many layers there are.
    """
    return f"merge_{_padded(layer, layers)}"


def place_of(node: str) -> Place:
    """Return where the node of a name stands."""
    if found := _PROPOSER.fullmatch(node):
        return Place(int(found[1]), int(found[2]))
    if found := _MERGE.fullmatch(node):
        return Place(int(found[1]))
    return Place()


def _padded(number: int, most: int) -> str:
    # LangGraph applies parallel writes in the order of names.
    return f"{number:0{len(str(most))}}"
