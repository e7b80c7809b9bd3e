"""The run inside a `ChatMoA`: what it is started with, and how its answer becomes the outer model's."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.utils import LC_ID_PREFIX

from langchain_moa.chat_model.isolation import isolated
from langchain_moa.usage import total_usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    from langchain_moa.chat_model.turns import TurnReferences
    from langchain_moa.state import MoAContext


class Engine(NamedTuple):
    """What a mixture's fields are built into.

    Attributes:
        graph: The whole graph.
        tail: The graph from the last merge on, for references that are there already.
        turns: The references of the latest turns.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    tail: CompiledStateGraph[Any, Any, Any, Any]
    turns: TurnReferences


class InnerRun(NamedTuple):
    """An inner run, ready to start; `turns` where its references are to be kept."""

    graph: CompiledStateGraph[Any, Any, Any, Any]
    input: dict[str, Any]
    config: RunnableConfig
    context: MoAContext
    turns: TurnReferences | None

    def answer(self, state: Mapping[str, Any]) -> AIMessage:
        """Return the answer as the outer model's: its own id, and the tokens of all calls."""
        if self.turns is not None and "merged" not in self.input:
            self.turns.keep(self.input["messages"], self.context.model_kwargs, state["merged"])
        answer: AIMessage = state["messages"][-1]
        usage = total_usage(answer.response_metadata["moa"])
        return answer.model_copy(update={"usage_metadata": usage, "id": _provider_id(answer)})

    async def chunks(self) -> AsyncGenerator[ChatGenerationChunk]:
        """Run the graph and yield the answer's chunks.

        The run is a task of its own: leaving the iteration cancels it, and the caller's context is not entered by it.
        """
        items: asyncio.Queue[ChatGenerationChunk | None] = asyncio.Queue()
        reader = _Reader(self)

        async def pump() -> None:
            try:
                with isolated():
                    steps = self.graph.astream(self.input, self.config, context=self.context, stream_mode=["custom", "values"])
                    async with aclosing(cast("AsyncGenerator[Any]", steps)) as each:
                        async for mode, data in each:
                            for chunk in reader.read(mode, data):
                                items.put_nowait(chunk)
                items.put_nowait(reader.last())
            finally:
                items.put_nowait(None)

        task = asyncio.create_task(pump())
        try:
            while (chunk := await items.get()) is not None:
                yield chunk
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])


class _Reader:
    """Turns the inner graph's stream into the outer model's chunks.

    Args:
        run: The run that is streamed.
    """

    def __init__(self, run: InnerRun) -> None:
        self._run = run
        self._state: dict[str, Any] = {}
        self._sent = False

    def read(self, mode: str, data: Any) -> Iterator[ChatGenerationChunk]:
        """Read one item of the stream.

        Args:
            mode: LangGraph's name of the stream that it comes from.
            data: The item.
        """
        if mode == "values":
            self._state = data
        elif isinstance(data, AIMessageChunk):
            self._sent = True
            # The tokens of all calls, their account, and the end, are said once, in the last chunk. An aggregator that is a
            # mixture has an account of its own, with which it could not be merged.
            said = {key: value for key, value in data.response_metadata.items() if key != "moa"}
            update = {"usage_metadata": None, "chunk_position": None, "id": _provider_id(data), "response_metadata": said}
            yield ChatGenerationChunk(message=data.model_copy(update=update))

    def last(self) -> ChatGenerationChunk:
        """Return the last chunk, which has the account of all calls, and the answer if it has not been streamed."""
        answer = self._run.answer(self._state)
        usage = answer.usage_metadata
        if self._sent:
            moa = {"moa": answer.response_metadata["moa"]}
            empty: str | list[Any] = "" if isinstance(answer.content, str) else []
            return ChatGenerationChunk(
                message=AIMessageChunk(content=empty, usage_metadata=usage, response_metadata=moa, chunk_position="last")
            )
        # The aggregator could not stream: its answer is one chunk.
        message = AIMessageChunk(**answer.model_dump(exclude={"type"}), chunk_position="last")
        return ChatGenerationChunk(message=message)


def _provider_id(message: BaseMessage) -> str | None:
    """Return a message's id where the provider gave it; LangChain gives the outer run's where there is none."""
    return None if (message.id or "").startswith(LC_ID_PREFIX) else message.id
