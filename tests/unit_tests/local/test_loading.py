from __future__ import annotations

import asyncio
import threading

import pytest

from langchain_moa.local.loading import aloaded
from tests.waiting import PATIENCE


async def test_what_was_loaded_and_what_went_wrong_come_back() -> None:
    assert await aloaded(lambda: "a server") == "a server"

    def fail() -> None:
        msg = "no such file"
        raise OSError(msg)

    with pytest.raises(OSError, match="no such file"):
        await aloaded(fail)


def test_a_loop_that_ends_does_not_wait_for_a_model_that_loads() -> None:
    begun, released = threading.Event(), threading.Event()

    def load() -> None:
        begun.set()
        released.wait(PATIENCE)

    async def leave() -> None:
        task = asyncio.create_task(aloaded(load))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    [left] = [thread for thread in threading.enumerate() if thread.name == "moa-load"]
    assert left.daemon
    released.set()
    left.join(PATIENCE)
    assert not left.is_alive()
