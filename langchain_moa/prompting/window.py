"""The context window: how much of it is left for messages, beside what else a call sends and brings."""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

# The most tokens of an answer, by the names that clients have for it.
_ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")

# What is sent beside the messages and counts like them, by the names that clients have for it.
_SCHEMAS = ("tools", "functions", "response_format", "format", "output_config", "response_schema", "response_json_schema")

# A model may be able to answer at any length; so much of the window is kept for it where nobody has asked for more.
_SHARE_OF_ANSWER = 0.25

_CHARACTERS = 4


def room_for_messages(model: BaseChatModel | None, kwargs: Mapping[str, Any]) -> int | None:
    """Return how many tokens the messages of a call may have.

    A profile's `max_input_tokens` is the whole window for some models, input and answer together (GPT-4o, Claude, models that
    are served by llama.cpp and vLLM), and that of the input alone for others (GPT-5); nothing in it says which. It is taken
    for the whole one: then a prompt may be cut a little too much, and never too little.

    Args:
        model: The model that is called.
        kwargs: What the call is made with: tools, schemas, limits.

    Returns:
        The tokens; `None` where the profile does not say how large the window is.
    """
    profile = getattr(model, "profile", None) or {}
    window = profile.get("max_input_tokens")
    if not window:
        return None
    schemas = [json.dumps(kwargs[name], default=_schema) for name in _SCHEMAS if kwargs.get(name)]
    return (
        int(window)
        - _answer(model, kwargs, int(window), profile.get("max_output_tokens"))
        - ceil(sum(map(len, schemas)) / _CHARACTERS)
    )


def _answer(model: BaseChatModel | None, kwargs: Mapping[str, Any], window: int, most: int | None) -> int:
    """Return how many tokens of a window are to be kept for the answer."""
    asked = [*(kwargs.get(name) for name in _ANSWER), *(getattr(model, name, None) for name in _ANSWER)]
    for tokens in asked:
        if isinstance(tokens, int) and tokens > 0:
            # As large as the window, it cannot be within it: the window is of the input alone, or the server cuts the answer.
            return tokens if tokens < window else 0
    return min(most or 0, int(window * _SHARE_OF_ANSWER))


def _schema(value: Any) -> Any:
    """Return what a client makes of a tool or a schema that is no plain data yet."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    schema = getattr(value, "tool_call_schema", None)
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        return schema.model_json_schema()
    return str(value)
