"""A shelf: what is costly to make is made once and kept, as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Shelf(Generic[T]):
    """Keeps what was asked for last; any number of threads may ask.

    Attributes:
        size: The most things to keep.
    """

    def __init__(self, *, size: int = 32) -> None:
        """Put up an empty shelf.

        Args:
            size: The most things to keep, at least 1; the least recently used one is dropped first.
        """
        self.size = size
        self._kept: OrderedDict[str, Future[T]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """How many things are kept."""
        return len(self._kept)

    def find(self, key: str) -> T | None:
        """Return what is kept, without waiting; `None` if it is not there, or not ready."""
        with self._lock:
            future = self._kept.get(key)
            if future is None or not future.done() or future.exception() is not None:
                return None
            self._kept.move_to_end(key)
            return future.result()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return what is kept, or make it; other callers wait for the one that is being made.

        Args:
            key: What it is kept under.
            make: Makes it. What it raises goes to all who wait, and is not kept.
        """
        with self._lock:
            future = self._kept.get(key)
            is_mine = future is None
            if future is None:
                future = self._kept[key] = Future()
                while len(self._kept) > self.size:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(key)
        if is_mine:
            self._make(key, future, make)
        return future.result()

    def _make(self, key: str, future: Future[T], make: Callable[[], T]) -> None:
        try:
            made = make()
        except BaseException as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            with self._lock:
                if self._kept.get(key) is future:
                    del self._kept[key]
            future.set_exception(error)
        else:
            future.set_result(made)
