"""Prompts of the user's own: what they return is checked, and what they raise is told from what a model's call raises."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langgraph.errors import GraphBubbleUp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_moa.prompting.prompts import Prompt
    from langchain_moa.reference import Reference


class PromptError(Exception):
    """A user's own prompt raised, or returned what cannot be sent; what it raised is the `__cause__`."""


def own(prompt: Callable[..., Any]) -> Prompt:
    """Return a user's prompt, of which nothing but messages comes back.

    Args:
        prompt: The user's function. It is given lists of its own, so that whatever it does to them is without effect.

    Returns:
        The prompt; where the user's function fails, it raises a `PromptError` with the function's name.
    """
    name = getattr(prompt, "__name__", type(prompt).__name__)

    def checked(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
        try:
            return _messages(prompt(list(messages), list(references)))
        except GraphBubbleUp:  # an interrupt is the graph's business
            raise
        except Exception as error:
            raise PromptError(name) from error

    return checked


def _messages(made: Any) -> list[BaseMessage]:
    if inspect.iscoroutine(made):
        made.close()
        msg = "it is async; a prompt is a plain function, which asks nobody"
        raise TypeError(msg)
    if not isinstance(made, (list, tuple)) or not made:
        found = "no message at all" if isinstance(made, (list, tuple)) else type(made).__name__
        msg = f"it returned {found}; return a list of messages"
        raise TypeError(msg)
    return convert_to_messages(made)
