"""A served graph, which refuses a run that would cost something and answer nothing."""

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
    """A mixture's graph on a server: it is another one with each context, and anybody may send it anything."""

    @override
    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Run the graph; arguments and items are LangGraph's.

        Raises:
            MoAError: There is nothing to answer, or a thread that was to go on cannot.
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
        """Refuse to call a run a success that went on with nothing: where its thread was left, this graph has no node."""
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
        """Return a thread's values, and its whole state; nothing where there is no thread."""
        if config is None or not self.checkpointer:
            return {}, None
        state = await self.aget_state(config)
        return state.values, state
