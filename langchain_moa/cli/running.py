"""Running a mixture under the eyes of watchers, so that Ctrl-C ends it at once."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from langchain_moa.cli.ending import run_until_signalled
from langchain_moa.engine.graph import build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.messages.ai import UsageMetadata

    from langchain_moa.data.reference import Reference
    from langchain_moa.mixture.mixture import Mixture


_NO_LOG = logging.NullHandler()


class Watcher:
    """Sees a run as it goes; a subclass overrides what it cares for."""

    def on_event(self, event: Mapping[str, Any]) -> None:
        """See an event of a node: a mapping whose `moa` names it (`proposing`, `proposed`, `merged`, ...)."""

    def on_text(self, text: str) -> None:
        """See a piece of the final answer."""

    def on_proposer_text(self, layer: int, proposer: int, text: str) -> None:
        """See a piece of a proposer's answer; only where proposers are streamed."""

    def on_references(self, references: Sequence[Reference]) -> None:
        """See all references so far, whenever a step of the graph is done."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to.

    Attributes:
        message: The aggregator's answer.
        references: Every reference, the failed ones too.
        usage: The tokens of all calls; `None` where no provider counted any.
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


def run(mixture: Mixture, messages: Sequence[BaseMessage], *watchers: Watcher) -> Outcome:
    """Ask a mixture.

    Args:
        mixture: Whom to ask.
        messages: The conversation.
        *watchers: Who sees it run, each told before the next.

    Raises:
        MoAError: The mixture gave no answer.
        typer.Exit: Ctrl-C or SIGTERM came; every call under way has been cancelled.
    """
    # Asynchronous, because only there can a call that is under way be cancelled.
    return run_until_signalled(arun(mixture, messages, *watchers))


async def arun(
    mixture: Mixture, messages: Sequence[BaseMessage], *watchers: Watcher, stream_proposers: bool = False
) -> Outcome:
    """Ask a mixture, in an event loop that is there already.

    Args:
        mixture: Whom to ask.
        messages: The conversation.
        *watchers: Who sees it run, each told before the next.
        stream_proposers: Whether the proposers' answers are seen as they come, too.

    Raises:
        MoAError: The mixture gave no answer.
    """
    from langchain_core.messages import AIMessageChunk

    from langchain_moa.data.state import MoAContext
    from langchain_moa.data.usage import total_usage

    # What the log warns of, the command line says in its own way.
    logging.getLogger("langchain_moa").addHandler(_NO_LOG)
    started = perf_counter()
    graph: Any = build_graph(mixture).compile()
    state: dict[str, Any] = {}
    streamed = False
    steps = graph.astream(
        {"messages": list(messages)},
        # Twice the steps that the graph can take, which is a layer and its merge each, and the aggregator.
        {"recursion_limit": 2 * len(graph.nodes)},
        context=MoAContext(stream_answer=True),
        stream_mode=["custom", "values", *(["messages"] if stream_proposers else [])],
    )
    async with aclosing(steps) as items:
        async for mode, data in items:
            for watcher in watchers:
                if mode == "values":
                    watcher.on_references(data.get("references", []))
                elif mode == "messages":
                    _tell_of_proposer(watcher, *data)
                elif isinstance(data, AIMessageChunk):
                    watcher.on_text(str(data.text))
                elif isinstance(data, dict) and "moa" in data:
                    watcher.on_event(data)
            if mode == "values":
                state = data
            streamed = streamed or (mode == "custom" and isinstance(data, AIMessageChunk) and bool(data.text))
    message = cast("AIMessage", state["messages"][-1])
    if not streamed:
        for watcher in watchers:
            watcher.on_text(str(message.text))
    moa = message.response_metadata["moa"]
    return Outcome(
        message=message,
        references=state.get("references", []),
        usage=total_usage(moa),
        moa=moa,
        seconds=perf_counter() - started,
    )


def _tell_of_proposer(watcher: Watcher, message: BaseMessage, metadata: Mapping[str, Any]) -> None:
    from langchain_core.messages import AIMessageChunk

    from langchain_moa.engine.names import place_of

    layer, proposer = place_of(metadata.get("langgraph_node", ""))
    if layer is not None and proposer is not None and isinstance(message, AIMessageChunk) and message.text:
        watcher.on_proposer_text(layer, proposer, str(message.text))
