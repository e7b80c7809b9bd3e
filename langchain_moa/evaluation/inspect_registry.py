"""The entry point `inspect_ai`. Every run of Inspect loads this module, so it imports little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspect_ai.model import modelapi

if TYPE_CHECKING:
    from inspect_ai.model import ModelAPI


@modelapi(name="moa")
def moa() -> type[ModelAPI]:
    """Return the model API of `moa/...`, where the name is a configuration file or a preset."""
    from langchain_moa.evaluation.inspect_model import InspectMoA

    return InspectMoA
