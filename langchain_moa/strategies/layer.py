"""The argument of reference filters and stop conditions, and what filters return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference, Step


@dataclass(frozen=True, kw_only=True)
class ClosedLayer:
    """A closed layer, in which no proposer is still running.

    Attributes:
        messages: The conversation.
        references: The layer's good references in the proposers' order, after the filters so far.
        number: The layer's number, from 1.
        num_layers: The maximum number of layers.
        previous: The references that this layer's proposers were shown; empty in the first layer and in blind layers.
        unfiltered: The layer's good references before any filter. Use these to count answers: a filter may have dropped the
            ones that agree.
        earlier: All good references of the earlier layers, unfiltered.
        width: The number of proposers in the layer, including those that failed. Use this to compute shares.
        is_blind: Whether the layer's proposers did not see the earlier layers (`prompt="blind"`). The answers of a blind layer
            are added to the earlier ones.
        asked: The number of proposers in all layers so far, including those that failed.
        steps: The calls for this answer so far that are neither a proposer's nor the aggregator's, such as those of moderators,
            judges and this condition after earlier layers.

    Example:
        ```python
        from langchain_moa import ChatMoA, ClosedLayer, Reference


        def only_short(layer: ClosedLayer) -> list[Reference]:
            return [reference for reference in layer.references if len(reference["text"]) < 2000]


        moa = ChatMoA.from_preset("local", reference_filters=[only_short])
        ```
    """

    messages: Sequence[BaseMessage]
    references: Sequence[Reference]
    number: int = 1
    num_layers: int = 1
    previous: Sequence[Reference] = field(default=())
    unfiltered: Sequence[Reference] = field(default=())
    earlier: Sequence[Reference] = field(default=())
    width: int = 0
    is_blind: bool = False
    asked: int = 0
    steps: Sequence[Step] = field(default=())

    @property
    def texts(self) -> list[str]:
        """The answers, in the references' order."""
        return [reference["text"] for reference in self.references]


@dataclass(frozen=True)
class Filtered:
    """The references that a filter keeps, and optionally a reason to end the layers.

    Set the attribute `may_stop = True` on a filter that can end the layers, so that the graph gets the edge. Other filters can
    return a plain sequence of references.

    Attributes:
        references: The references to keep.
        stop: The reason to end the layers. Default: `None`, the layers continue.

    Example:
        ```python
        from langchain_moa import ChatMoA, ClosedLayer
        from langchain_moa.strategies import Filtered


        class LongEnough:
            may_stop = True

            def __call__(self, layer: ClosedLayer) -> Filtered:
                long = [each for each in layer.references if len(each["text"]) > 200]
                return Filtered(long, stop="all are long enough" if len(long) == layer.width else None)


        moa = ChatMoA.from_preset("local", num_layers=2, reference_filters=[LongEnough()])
        ```
    """

    references: Sequence[Reference]
    stop: str | None = None
