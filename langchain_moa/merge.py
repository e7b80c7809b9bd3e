"""The merge node: it closes a layer and decides what the next reader sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_moa.calls import emit
from langchain_moa.errors import proposers_failed
from langchain_moa.state import MoAState, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_moa.reference import Reference


def merge_layer(layer: int, *, min_references: int) -> Callable[[MoAState], dict[str, Any]]:
    """Return the node that closes a layer.

    Args:
        layer: The layer's number, from 1.
        min_references: How many good references a layer needs; a later one with fewer falls back on the previous layer's.
    """

    def merge(state: MoAState) -> dict[str, Any]:
        turn = turn_of(state["messages"])
        references = [reference for reference in state.get("references", []) if reference["turn"] == turn]
        good = [reference for reference in references if reference["layer"] == layer and reference["status"] == "ok"]
        fallback: list[Reference] = state.get("merged", []) if layer > 1 else []
        if len(good) < min_references:
            if not fallback:
                raise proposers_failed(references, layer, min_references)
            good = fallback
        emit("merged", layer=layer, references=[reference["proposer"] for reference in good], fell_back=good is fallback)
        return {"merged": good, "stopped": None}

    return merge
