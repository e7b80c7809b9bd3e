"""A served graph, which rejects runs that would return no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from typing_extensions import override

from langchain_moa.data.errors import MoAError
from langchain_moa.engine.compiled import CompiledMoA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from langchain_core.runnables import RunnableConfig


class ServedGraph(CompiledMoA):
    """A mixture's graph on a server, where the graph depends on the context and any client may send any input."""

    @override
    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Run the graph like LangGraph's `astream`.

        Raises:
            MoAError: There is no message to answer, or a thread cannot be resumed.
        """
        brings_nothing = isinstance(input, dict) and not input.get("messages")
        values, before = await self._looked_up(config) if input is None or brings_nothing else ({}, None)
        if brings_nothing and not values.get("messages"):
            msg = "`messages` is empty; give at least one message. No model was called"
            raise MoAError(msg)
        async for item in super().astream(input, config, **kwargs):
            yield item
        if input is None:
            await self._require_progress(config, before)

    async def _require_progress(self, config: RunnableConfig | None, before: Any) -> None:
        """Check that a resumed run made progress: it cannot if its thread waits for a node that this graph does not have."""
        values, after = await self._looked_up(config)
        messages = values.get("messages")
        if before is None or before.config != after.config or after.next or not messages or isinstance(messages[-1], AIMessage):
            return
        msg = (
            "this thread cannot be resumed: it waits for a node that this mixture does not have. It was started, or its state "
            "was edited, with other proposers or layers; set them in one assistant's context, and use it for the whole thread"
        )
        raise MoAError(msg, references=values.get("references") or ())

    async def _looked_up(self, config: RunnableConfig | None) -> tuple[Mapping[str, Any], Any]:
        """Return the values and the state of a thread, or an empty mapping and `None` without a thread."""
        if config is None or not self.checkpointer:
            return {}, None
        state = await self.aget_state(config)
        return state.values, state
