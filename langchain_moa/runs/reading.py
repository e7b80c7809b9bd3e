"""What was read: the references that each reader of an answer was shown, the writer of it above all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_moa.engine.names import place_of

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference


@dataclass
class Reading:
    """What the nodes of one answer have read, by what the graph's state said when they began.

    The state and not the merge nodes: between two nodes a person may strike references or edit them.
    """

    _of_layer: dict[int, list[Reference]] = field(default_factory=dict)
    _last: list[Reference] | None = None

    @property
    def places(self) -> list[tuple[int, int]] | None:
        """Layer and proposer of what the answer was written from, in the order of reading; `None` before it is."""
        return None if self._last is None else [(each["layer"], each["proposer"]) for each in self._last]

    @property
    def references(self) -> list[Reference]:
        """All references of which it is known that somebody read them."""
        return [*(each for layer in self._of_layer.values() for each in layer), *(self._last or ())]

    def closed(self, layer: int, merged: list[Reference]) -> None:
        """Take down what a layer's merge node has kept."""
        self._of_layer[layer] = merged

    def began(self, node: str, state: Any) -> None:
        """Take down what a node reads.

        Args:
            node: The node's name.
            state: What it was given.
        """
        merged = state.get("merged") if isinstance(state, dict) else None
        place = place_of(node)
        if not merged or (place.layer is not None and place.proposer is None):
            return
        if place.layer is not None:
            if place.layer > 1:
                self._of_layer[place.layer - 1] = merged
        # A running synthesis stands at no proposer's place: the answer comes from what the first window began with.
        elif self._last is None or all(each["proposer"] for each in merged):
            closed = max((each["layer"] for each in state.get("references") or merged), default=1)
            self._last = self._of_layer[closed] = [each for each in merged if each["proposer"]]

    def kept(self, layer: int | None, proposer: int | None) -> bool | None:
        """Tell whether a proposer's answer was shown to the next reader; `None` where that is not known."""
        if layer is None or proposer is None or layer not in self._of_layer:
            return None
        return any((each["layer"], each["proposer"]) == (layer, proposer) for each in self._of_layer[layer])

    def shown_as(self, layer: int | None, proposer: int | None, text: str) -> str | None:
        """Return what stood in the place of a proposer's answer when it was read; `None` where it was the answer itself.

        Args:
            layer: The layer.
            proposer: The proposer's place in it.
            text: What the proposer has said.
        """
        if layer is None or proposer is None:
            return None
        readers = (self._last or (), self._of_layer.get(layer, ()))
        read = (
            each["text"] for several in readers for each in several if (each["layer"], each["proposer"]) == (layer, proposer)
        )
        shown = next(read, text)
        return None if shown == text else shown
