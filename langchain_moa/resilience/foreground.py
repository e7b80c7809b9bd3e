"""The main thread, in which Ctrl-C is raised: it waits for what others do, and so can leave at once."""

from __future__ import annotations

import threading
from contextlib import closing
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_moa.resilience.deadline import Limit, call_within

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from langchain_moa.resilience.abandonment import Abandonment

T = TypeVar("T")


def is_foreground() -> bool:
    """Tell whether this is the main thread."""
    return threading.current_thread() is threading.main_thread()


def call_leaving(abandoned: Abandonment, call: Callable[[], T]) -> T:
    """Call; in the main thread, Ctrl-C ends the wait at once.

    LangGraph's sync executor waits for its nodes whatever happens. So it runs in a thread of its own, which is left when the
    main thread is interrupted, and ends soon, since its nodes are told.

    Args:
        abandoned: Set when the main thread is interrupted.
        call: What to do.
    """
    if not is_foreground():
        return call()
    with abandoned.entered():
        try:
            return call_within(Limit(), call)
        except KeyboardInterrupt:
            abandoned.set()
            raise


def steps_leaving(abandoned: Abandonment, steps: Generator[T]) -> Generator[T]:
    """Iterate; in the main thread, Ctrl-C ends the wait for the next step at once.

    Args:
        abandoned: Set when the main thread is interrupted, or the iteration is left; the steps then end.
        steps: What to iterate over.
    """
    if not is_foreground():
        yield from steps
        return
    # Beside each step, whether it is one, or how they ended.
    found: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        ended: BaseException | None = None
        try:
            with closing(steps):
                for step in steps:
                    found.put((True, step))
                    if abandoned.is_set():
                        break
        except BaseException as error:  # noqa: BLE001  # it is raised where the steps are read
            ended = error
        found.put((False, ended))

    with abandoned.entered():
        worker = threading.Thread(target=copy_context().run, args=(work,), name="moa-stream", daemon=True)
    worker.start()
    try:
        while (got := found.get())[0]:
            yield got[1]
    except KeyboardInterrupt:
        abandoned.set()
        raise
    except BaseException:
        abandoned.set()
        worker.join()
        raise
    worker.join()
    if got[1] is not None:
        raise got[1]
