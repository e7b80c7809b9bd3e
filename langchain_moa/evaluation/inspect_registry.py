"""What Inspect finds by the entry point `inspect_ai`; it is loaded by every run of Inspect, and so is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspect_ai.model import modelapi

if TYPE_CHECKING:
    from inspect_ai.model import ModelAPI


@modelapi(name="moa")
def moa() -> type[ModelAPI]:
    """The models `moa/...`: a configuration file or a preset."""
    from langchain_moa.evaluation.inspect_model import InspectMoA

    return InspectMoA
