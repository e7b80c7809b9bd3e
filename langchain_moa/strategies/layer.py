"""What reference filters and stop conditions look at, and what they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference, Step


@dataclass(frozen=True, kw_only=True)
class ClosedLayer:
    """A layer all of whose proposers have answered.

    Attributes:
        messages: The conversation.
        references: The layer's good references in the proposers' order, as the filters so far have left them.
        number: The layer's number, from 1.
        num_layers: How many layers there are at most.
        previous: What this layer's proposers were shown; empty in the first layer.
        unfiltered: The layer's good references before any filter; conditions that count look at these, since a filter may
            have left out the very ones that agree.
        earlier: Every good reference of the layers before, unfiltered.
        width: How many proposers the layer has, those that failed included: conditions that ask for a share count against
            these.
        is_blind: Whether the layer's proposers did not see the layers before (`prompt="blind"`): its answers come on top of
            theirs.
        asked: How many proposers of all layers so far were asked, those that failed included.
        steps: The calls of this answer so far that are neither a proposer's nor the aggregator's: what moderators, judges
            and this very condition asked after the layers before.

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
    """The references that a filter keeps, and why no further layer is needed, if none is.

    A filter that may end the layers has an attribute `may_stop = True`, so that the graph gets the edge; any other filter
    returns the references alone.

    Attributes:
        references: Those to keep.
        stop: Why the layers end here; `None` to go on.

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
