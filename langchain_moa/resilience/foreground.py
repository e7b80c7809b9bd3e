"""Sync runs that can be left: by Ctrl-C in the main thread, and by whoever stops reading a stream."""

from __future__ import annotations

import threading
from contextlib import closing
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_moa.resilience.abandonment import Abandonment

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

T = TypeVar("T")


def leavable(steps: Iterator[T]) -> Generator[T]:
    """Iterate over a run's steps; whoever leaves need not wait for what is then under way.

    LangGraph's sync executor waits for its nodes whatever happens. They are told to end; and in the main thread, in which
    Ctrl-C is raised, the run is in a thread of its own, which is left.

    Args:
        steps: The steps; each is begun when it is asked for.
    """
    abandoned = Abandonment()
    here = threading.current_thread() is threading.main_thread()
    with closing(_elsewhere(steps, abandoned) if here else _entered(steps, abandoned)) as items:
        try:
            for step in items:  # noqa: UP028  # `yield from` would close them before anybody is told
                yield step
        except BaseException:
            # Before the steps are closed, which waits for what is under way.
            abandoned.set()
            raise


def _entered(steps: Iterator[T], abandoned: Abandonment) -> Generator[T]:
    """Iterate, with each step inside the abandonment; between steps, the context is the caller's."""
    with closing(cast("Generator[T]", steps)):
        while True:
            with abandoned.entered():
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step


def _elsewhere(steps: Iterator[T], abandoned: Abandonment) -> Generator[T]:
    """Iterate, with each step in another thread."""
    wanted = threading.Semaphore(0)
    # Beside each step, whether it is one, or how they ended.
    found: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        ended: BaseException | None = None
        try:
            with closing(cast("Generator[T]", steps)):
                while wanted.acquire() and not abandoned.is_set():
                    found.put((True, next(steps)))
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001  # it is raised where the steps are read
            ended = error
        found.put((False, ended))

    with abandoned.entered():
        worker = threading.Thread(target=copy_context().run, args=(work,), name="moa-run", daemon=True)
    worker.start()
    wanted.release()
    try:
        while (got := found.get())[0]:
            yield got[1]
            wanted.release()
    except GeneratorExit:
        wanted.release()
        worker.join()
        raise
    except BaseException:
        # Ctrl-C: nobody waits for what is under way.
        abandoned.set()
        wanted.release()
        raise
    worker.join()
    if got[1] is not None:
        raise got[1]
