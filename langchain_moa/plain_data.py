"""Plain data: what users' functions have computed, in Python's own types, which every checkpointer stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain_data(value: Any) -> Any:
    """Return data with every number and array of numpy's, or of a library like it, as Python's own.

    Args:
        value: Mappings, lists, numbers, texts; anything else is left as it is.
    """
    if isinstance(value, Mapping):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    # What arrays and their numbers have in common, in all of these libraries.
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) and not isinstance(value, type) else value
