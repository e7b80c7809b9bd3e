"""Run a mixture with views that show its progress. Ctrl-C cancels the run."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from langchain_moa.cli.console import hide_log
from langchain_moa.cli.signals import run_until_signalled
from langchain_moa.data.finish_reasons import is_cut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.messages.ai import UsageMetadata

    from langchain_moa.data.reference import Reference
    from langchain_moa.mixture.mixture import Mixture


_SECONDS_BETWEEN_TICKS = 0.1

CUT = "the answer was cut at max_tokens"
"""The remark on an answer that was cut at `max_tokens`."""

NOT_WAITED_FOR = ("late", "cancelled")
"""The statuses of calls that were not waited for, which did not fail."""


class RunView:
    """Receives the events of a run. Subclasses override the methods that they need."""

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Receive an event of a node: a mapping whose `moa` is the kind of event (`proposing`, `proposed`, `merged`, ...)."""

    def on_text(self, text: str) -> None:
        """Receive a chunk of the final answer."""

    def on_proposer_text(self, layer: int, proposer: int, text: str) -> None:
        """Receive a chunk of a proposer's answer, if proposers are streamed."""

    def on_references(self, references: Sequence[Reference]) -> None:
        """Receive all references so far, after each step of the graph."""

    def on_tick(self) -> None:
        """Redraw; called about ten times a second."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run.

    Attributes:
        message: The aggregator's answer.
        references: All references, including failed ones.
        usage: The tokens of all calls, or `None` if no provider reported any.
        moa: The answer's `response_metadata["moa"]`: the calls by layer and proposer.
        seconds: The duration of the whole run.
    """

    message: AIMessage
    references: list[Reference]
    usage: UsageMetadata | None
    moa: dict[str, Any]
    seconds: float

    @property
    def answer(self) -> str:
        """The text of the answer."""
        return str(self.message.text)

    @property
    def remarks(self) -> list[str]:
        """Remarks on the answer: what failed during the run, and whether the answer was cut."""
        remarks = [str(each) for each in self.moa.get("degraded", ())]
        if self.is_cut and not any("max_tokens" in each for each in remarks):
            remarks.append(CUT)
        return remarks

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut at `max_tokens`."""
        return is_cut(self.message)


def run(mixture: Mixture, messages: Sequence[BaseMessage], *views: RunView) -> RunResult:
    """Run a mixture.

    Args:
        mixture: The mixture.
        messages: The conversation.
        *views: The views, which receive each event in this order.

    Raises:
        MoAError: The mixture gave no answer.
        typer.Exit: The run was cancelled by Ctrl-C or SIGTERM.
    """
    # Async, because synchronous calls cannot be cancelled.
    return run_until_signalled(arun(mixture, messages, *views))


async def arun(mixture: Mixture, messages: Sequence[BaseMessage], *views: RunView, stream_proposers: bool = False) -> RunResult:
    """Run a mixture in the current event loop.

    Args:
        mixture: The mixture.
        messages: The conversation.
        *views: The views, which receive each event in this order.
        stream_proposers: Whether to stream the proposers' answers, too.

    Raises:
        MoAError: The mixture gave no answer.
    """
    from langchain_core.messages import AIMessageChunk

    from langchain_moa.data.state import MoAContext
    from langchain_moa.data.usage import total_usage

    hide_log()  # the views show what would be logged as warnings
    started = perf_counter()
    from langchain_moa.engine.graph import build_graph

    graph: Any = build_graph(mixture).compile()
    state: dict[str, Any] = {}
    streamed = False
    steps = graph.astream(
        {"messages": list(messages)},
        # More than the graph can need: it has no cycles, so it takes at most one step per node.
        {"recursion_limit": 2 * len(graph.nodes)},
        context=MoAContext(stream_answer=True),
        stream_mode=["custom", "values", *(["messages"] if stream_proposers else [])],
    )
    async with _ticking(views), aclosing(steps) as items:
        async for mode, data in items:
            for view in views:
                if mode == "values":
                    view.on_references(data.get("references", []))
                elif mode == "messages":
                    _tell_of_proposer(view, *data)
                elif isinstance(data, AIMessageChunk):
                    view.on_text(str(data.text))
                elif isinstance(data, dict) and "moa" in data:
                    view.on_event(data)
            if mode == "values":
                state = data
            streamed = streamed or (mode == "custom" and isinstance(data, AIMessageChunk) and bool(data.text))
    message = cast("AIMessage", state["messages"][-1])
    if not streamed:
        for view in views:
            view.on_text(str(message.text))
    moa = message.response_metadata["moa"]
    return RunResult(
        message=message,
        references=state.get("references", []),
        usage=total_usage(moa),
        moa=moa,
        seconds=perf_counter() - started,
    )


@asynccontextmanager
async def _ticking(views: Sequence[RunView]) -> AsyncIterator[None]:
    """Redraw the views periodically in this event loop, so that nothing else is printed at the same time."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_TICKS)
            for view in views:
                view.on_tick()

    ticks = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticks.cancel()
        await asyncio.gather(ticks, return_exceptions=True)


def _tell_of_proposer(view: RunView, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
    from langchain_core.messages import AIMessageChunk

    from langchain_moa.engine.node import place_of

    layer, proposer = place_of(metadata.get("langgraph_node", ""))
    if layer is not None and proposer is not None and isinstance(message, AIMessageChunk) and message.text:
        view.on_proposer_text(layer, proposer, str(message.text))
