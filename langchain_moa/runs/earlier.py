"""Calls that were made before a run was resumed, as far as the graph's state tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.data.usage import cost_of_call
from langchain_moa.engine.names import place_of
from langchain_moa.runs.call import Call

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference, Status, Step
    from langchain_moa.runs.plain import Plain
    from langchain_moa.runs.reading import Reading


def call_of_reference(reference: Reference, node: str, reading: Reading, plain: Plain) -> Call:
    """Return the call that a reference came from.

    Args:
        reference: The reference.
        node: The node that made it.
        reading: What was read of it.
        plain: Makes plain data, without secrets.
    """
    usage, place = reference["usage"], (reference["layer"], reference["proposer"])
    shown = reading.shown_as(*place, reference["text"])
    return Call(
        node=node,
        role="proposer",
        layer=place[0],
        proposer=place[1],
        name=plain.text(reference["name"]),
        model=plain.text(reference["model"]),
        seconds=reference["seconds"],
        status=reference["status"],
        error=reference["error"],
        kept=reading.kept(*place),
        text=plain.text(reference["text"]),
        shown_as=None if shown is None else plain.text(shown),
        usage=None if usage is None else plain.mapping(usage),
        cost_usd=cost_of_call(reference),
    )


def call_of_step(step: Step, plain: Plain) -> Call:
    """Return the call that a step came from.

    Args:
        step: The step.
        plain: Makes plain data, without secrets.
    """
    usage, failure = step["usage"], step["error"]
    status: Status = step["status"]
    return Call(
        node=step["node"],
        role="step",
        layer=place_of(step["node"]).layer,
        name=plain.text(step["name"]),
        model=plain.text(step["model"]),
        seconds=step["seconds"],
        status=status,
        error=failure,
        text=plain.text(step["text"]),
        usage=None if usage is None else plain.mapping(usage),
        cost_usd=cost_of_call(step),
    )
