"""Which answers count towards the outcome of an aggregation, and the aggregation's check of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import HumanMessage

from langchain_moa.data.state import references_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Check, Reference
    from langchain_moa.data.state import MoAState
    from langchain_moa.engine.node import NodeSettings


def answers_of_layers(state: MoAState, *, before: int | None = None) -> list[Reference]:
    """Return the good references of all layers, without those that filters removed.

    Args:
        state: The graph's state.
        before: Include only layers with a lower number than this one. Default: all layers.
    """
    passed_on = state.get("passed_on") or []

    def counts(reference: Reference) -> bool:
        layer = reference["layer"]
        if reference["status"] != "ok" or (before is not None and layer >= before):
            return False
        return layer > len(passed_on) or reference["proposer"] in passed_on[layer - 1]

    return [reference for reference in references_of(state) if counts(reference)]


def answers_before(state: MoAState, layer: int, settings: NodeSettings) -> list[Reference]:
    """Return the answers of earlier layers that count towards the outcome together with those of a layer.

    Args:
        state: The graph's state.
        layer: The number of the layer, from 1.
        settings: The settings of the mixture's nodes.
    """
    if settings.strategies.counts_all:
        return answers_of_layers(state, before=layer)
    return [*state.get("merged", [])] if layer in settings.blind else []


async def examined(settings: NodeSettings, messages: Sequence[BaseMessage], text: str) -> Check | None:
    """Run the aggregation's check on an answer and return the result, or `None` if there is no check.

    Args:
        settings: The settings of the mixture's nodes.
        messages: The conversation; the check gets the text of its last user message.
        text: The answer.
    """
    if (examine := settings.strategies.examine) is None:
        return None
    question = next((str(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), "")
    return await examine(text, question)
