"""Running a mixture while views show it; Ctrl-C cancels it at once."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from langchain_moa.cli.signals import run_until_signalled
from langchain_moa.data.finish_reasons import is_cut

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.messages.ai import UsageMetadata

    from langchain_moa.data.reference import Reference
    from langchain_moa.mixture.mixture import Mixture


_NO_LOG = logging.NullHandler()

_SECONDS_BETWEEN_TICKS = 0.1

CUT = "the answer was cut at max_tokens"
"""The remark on an answer that was cut at its longest allowed length."""

NOT_WAITED_FOR = ("late", "cancelled")
"""The statuses of calls that were skipped; they have not failed."""


class RunView:
    """Sees a run as it goes; a subclass overrides what it needs."""

    def on_event(self, event: Mapping[str, Any]) -> None:
        """See an event of a node: a mapping whose `moa` names it (`proposing`, `proposed`, `merged`, ...)."""

    def on_text(self, text: str) -> None:
        """See a piece of the final answer."""

    def on_proposer_text(self, layer: int, proposer: int, text: str) -> None:
        """See a piece of a proposer's answer; only if proposers are streamed."""

    def on_references(self, references: Sequence[Reference]) -> None:
        """See all references so far, after each step of the graph."""

    def on_tick(self) -> None:
        """Draw, about ten times a second."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        message: The aggregator's answer.
        references: Every reference, the failed ones too.
        usage: The tokens of all calls; `None` if no provider counted any.
        moa: The breakdown by layer and proposer.
        seconds: Wall-clock time of the whole run.
    """

    message: AIMessage
    references: list[Reference]
    usage: UsageMetadata | None
    moa: dict[str, Any]
    seconds: float

    @property
    def answer(self) -> str:
        """The answer's text."""
        return str(self.message.text)

    @property
    def remarks(self) -> list[str]:
        """What the reader should know of the answer: what failed on the way, and whether it was cut."""
        remarks = [str(each) for each in self.moa.get("degraded", ())]
        if self.is_cut and not any("max_tokens" in each for each in remarks):
            remarks.append(CUT)
        return remarks

    @property
    def is_cut(self) -> bool:
        """Whether the answer has reached the longest length that was allowed."""
        return is_cut(self.message)


def run(mixture: Mixture, messages: Sequence[BaseMessage], *views: RunView) -> RunResult:
    """Ask a mixture.

    Args:
        mixture: The mixture.
        messages: The conversation.
        *views: Who sees it run, each told before the next.

    Raises:
        MoAError: The mixture gave no answer.
        typer.Exit: Ctrl-C or SIGTERM came; every call under way has been cancelled.
    """
    # Asynchronous, because a synchronous call that is under way could not be cancelled.
    return run_until_signalled(arun(mixture, messages, *views))


async def arun(mixture: Mixture, messages: Sequence[BaseMessage], *views: RunView, stream_proposers: bool = False) -> RunResult:
    """Ask a mixture in the running event loop.

    Args:
        mixture: The mixture.
        messages: The conversation.
        *views: Who sees it run, each told before the next.
        stream_proposers: Whether the proposers' answers are seen as they come, too.

    Raises:
        MoAError: The mixture gave no answer.
    """
    from langchain_core.messages import AIMessageChunk

    from langchain_moa.data.state import MoAContext
    from langchain_moa.data.usage import total_usage

    # The command line prints what the log warns of.
    logging.getLogger("langchain_moa").addHandler(_NO_LOG)
    started = perf_counter()
    from langchain_moa.engine.graph import build_graph

    graph: Any = build_graph(mixture).compile()
    state: dict[str, Any] = {}
    streamed = False
    steps = graph.astream(
        {"messages": list(messages)},
        # Twice the steps that the graph can take: a layer and its merge each, and the aggregator.
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
    """Have the views draw themselves in this loop's thread, so that no print comes in the middle of a drawing."""

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
