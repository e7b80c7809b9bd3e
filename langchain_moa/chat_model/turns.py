"""References kept for a user's turn, so that an agent's loop does not pay the proposers at every step."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage, HumanMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_moa.reference import Reference

_MOST = 128


class TurnReferences:
    """The references of the latest turns, by the content of their conversation up to the user's last message.

    By content, because nothing else tells conversations apart: one chat model serves many, from many threads at once. What
    is kept is bounded; a turn that has been dropped is asked again.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._kept: OrderedDict[str, list[Reference]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> list[Reference] | None:
        """Return the references of the turn that a conversation is in the middle of.

        Args:
            messages: The conversation. One that ends with the user's message begins a turn, and has none.
            parameters: The call's parameters for every model; with others, the references would be others.
        """
        if not messages or isinstance(messages[-1], HumanMessage):
            return None
        key = self._key(messages, parameters)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any], references: list[Reference]) -> None:
        """Keep the references of a conversation's turn."""
        with self._lock:
            self._kept[self._key(messages, parameters)] = references
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)

    def _key(self, messages: Sequence[BaseMessage], parameters: Mapping[str, Any]) -> str:
        users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
        turn = messages[: users[-1] + 1] if users else messages
        # Not the ids: who keeps no ids sends the same conversation under new ones at every step.
        said = [(message.type, message.content, getattr(message, "tool_calls", None)) for message in turn]
        return repr((said, sorted(parameters.items(), key=lambda item: item[0])))
