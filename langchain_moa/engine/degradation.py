"""Degraded answers: reports failures and cut prompts in the answer's metadata, the log and the stream."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from langchain_moa.data.sanitizing import shown_line
from langchain_moa.data.state import emit
from langchain_moa.data.usage import unpriced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_moa.engine.node import NodeSettings

_logger = logging.getLogger("langchain_moa")


def tell(moa: dict[str, Any], settings: NodeSettings) -> None:
    """Record how an answer is degraded: in its metadata, in the log and on the `custom` stream.

    `moa["fell_back"]` lists the layers that were replaced by the references of the layer before. `moa["degraded"]` describes
    everything that went wrong. Neither is set if nothing did. There is one log record per answer: a warning if a call failed,
    the answer is flawed or a layer fell back, otherwise (late proposers, cut prompts) at level INFO.

    Args:
        moa: The answer's `response_metadata["moa"]`, which is modified.
        settings: The settings of the mixture's nodes.
    """
    fell_back = [
        number
        for number, calls in enumerate(moa["layers"], start=1)
        # A blind layer adds to the references before it and never falls back to them.
        if number > 1
        and number not in settings.blind
        and sum(call["status"] == "ok" for call in calls) < settings.min_references
    ]
    words = list(_words(moa, fell_back))
    if settings.max_cost_usd is not None:
        words += _uncounted(moa)
    if not words:
        return
    if fell_back:
        moa["fell_back"] = fell_back
    moa["degraded"] = words
    calls = [*(call for calls in moa["layers"] for call in calls), *moa.get("steps", ())]
    is_flawed = bool((moa.get("aggregator") or {}).get("error"))
    has_failed = fell_back or is_flawed or any(call["status"] == "failed" for call in calls)
    level = logging.WARNING if has_failed else logging.INFO
    _logger.log(level, "an answer is degraded: %s", shown_line("; ".join(words)))
    emit("degraded", fell_back=fell_back, degraded=words)


def _uncounted(moa: Mapping[str, Any]) -> Iterator[str]:
    """Describe the calls that did not count towards `max_cost_usd` because their price is unknown."""
    calls = [*(call for calls in moa["layers"] for call in calls), *moa.get("steps", ())]
    paid = [call for call in calls if call["status"] == "ok" or call.get("usage")]
    if models := unpriced(call["model"] for call in paid if call.get("cost_usd") is None):
        yield f"max_cost_usd: the price of {', '.join(models)} is not known, so these calls did not count"


def _words(moa: Mapping[str, Any], fell_back: list[int]) -> Iterator[str]:
    for number, calls in enumerate(moa["layers"], start=1):
        for call in calls:
            if call["status"] not in ("ok", "cancelled"):
                yield f"layer {number}: proposer {call['proposer']}, {_who(call)}, {call['status']}: {_why(call)}"
            yield from _trimmed(call, f"layer {number}: proposer {call['proposer']}, {_who(call)}")
        if number in fell_back:
            yield f"layer {number} went on with the references of layer {number - 1}"
    for step in moa.get("steps", ()):
        if step["status"] != "ok":
            yield f"{step['node']}: {_who(step)} failed: {_why(step)}"
        yield from _trimmed(step, f"{step['node']}: {_who(step)}")
    if (aggregator := moa.get("aggregator")) is not None:
        if aggregator.get("error"):
            yield f"aggregator: {_who(aggregator)}: {_why(aggregator)}"
        if aggregator.get("cut"):
            yield f"aggregator: {_who(aggregator)}: {aggregator['cut']}"
        yield from _trimmed(aggregator, f"aggregator: {_who(aggregator)}")


def _trimmed(call: Mapping[str, Any], who: str) -> Iterator[str]:
    if trimmed := call.get("trimmed"):
        yield f"{who}: its prompt did not fit into its context window: {'; '.join(trimmed)}"


def _who(call: Mapping[str, Any]) -> str:
    return call["name"] if call["name"] == call["model"] else f"{call['name']} ({call['model']})"


def _why(call: Mapping[str, Any]) -> str:
    if not (error := call.get("error")):
        return "no reason given"
    kind, message = error["kind"], error["message"]
    # Messages about the quorum begin with the word.
    return message if message.startswith(f"{kind} ") else f"{kind}: {message}"
