"""References that are cached between requests, so that retries and later steps do not call the proposers again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING

from langchain_core.messages import HumanMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.serving.parameters import Prompting

_KEPT_ANSWERS = 128
_KEPT_SECONDS = 600.0


class KeptReferences:
    """The cached references of a mixture.

    If an answer fails or its client disconnects, its references are kept for a retry of the same request, for ten minutes.
    With `references_per="turn"`, the references of a turn are kept for its later steps.
    """

    def __init__(self, *, per_turn: bool) -> None:
        self._per_turn = per_turn
        self._kept: OrderedDict[str, tuple[float, list[Reference]]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, prompting: Prompting) -> list[Reference] | None:
        """Return the references for a request, or `None`."""
        if not self._kept:
            return None
        keys = [_digest("answer", prompting, prompting.messages)]
        if self._is_later_step(prompting):
            keys.append(_digest("turn", prompting, _turn(prompting.messages)))
        with self._lock:
            now = time.monotonic()
            for key in keys:
                until, references = self._kept.get(key, (0.0, []))
                if references and now < until:
                    self._kept.move_to_end(key)
                    return references
        return None

    def succeeded(self, prompting: Prompting, references: list[Reference] | None) -> None:
        """Keep the references of an answer for the rest of its turn, and drop those kept for a retry."""
        if self._kept:
            with self._lock:
                self._kept.pop(_digest("answer", prompting, prompting.messages), None)
        if self._per_turn and references:
            self._keep(_digest("turn", prompting, _turn(prompting.messages)), references, float("inf"))

    def failed(self, prompting: Prompting, references: list[Reference]) -> None:
        """Keep the references of a failed answer for a retry."""
        self._keep(_digest("answer", prompting, prompting.messages), references, time.monotonic() + _KEPT_SECONDS)

    def _keep(self, key: str, references: list[Reference], until: float) -> None:
        with self._lock:
            self._kept[key] = (until, references)
            self._kept.move_to_end(key)
            if len(self._kept) > _KEPT_ANSWERS:
                self._kept.popitem(last=False)

    def _is_later_step(self, prompting: Prompting) -> bool:
        return self._per_turn and bool(prompting.messages) and not isinstance(prompting.messages[-1], HumanMessage)


def _turn(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation up to the user's last message."""
    users = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[: users[-1] + 1] if users else messages


def _digest(kind: str, prompting: Prompting, messages: Sequence[BaseMessage]) -> str:
    # Without message ids, which differ between requests. With the key's name, to separate clients from each other. The steps of
    # a turn may have different tools; a retry has the same.
    own = sorted(prompting.own.items()) if kind == "answer" else None
    digest = sha256(repr((kind, prompting.owner, sorted(prompting.shared.items()), own)).encode("utf-8", "surrogatepass"))
    for message in messages:
        calls, call_id = getattr(message, "tool_calls", None), getattr(message, "tool_call_id", None)
        said = (message.type, message.name, message.content, calls, call_id)
        digest.update(repr(said).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
