"""How often a question was asked, so that a model that is asked twice does not say the same thing twice."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST = 1024


class Repetitions:
    """Counts the askings of the latest questions."""

    def __init__(self) -> None:
        """Start with none."""
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, question: str) -> int:
        """Count an asking, and return how many there were before."""
        with self._lock:
            before = self._asked.pop(question, 0)
            self._asked[question] = before + 1
            if len(self._asked) > _MOST:
                self._asked.popitem(last=False)
            return before
