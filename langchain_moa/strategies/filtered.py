"""What a reference filter returns that may also end the layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.reference import Reference


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
