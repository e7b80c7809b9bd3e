"""Nobody: what stands for the aggregator of a mixture that has none."""

from __future__ import annotations

from typing import Any, NoReturn

from langchain_core.runnables import Runnable


class Nobody(Runnable[Any, Any]):
    """Stands where a mixture has no aggregator, and says so to whoever wants something of it."""

    def invoke(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("asked")

    def bind_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("given tools")

    def with_structured_output(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("given a schema")

    def _refuse(self, action: str) -> NoReturn:
        msg = f"this mixture has no aggregator that could be {action}: its answer is chosen, not written; give `aggregator`"
        raise ValueError(msg)
