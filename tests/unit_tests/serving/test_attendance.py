"""Work that nobody waits for is ended, even if it does not hear it at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langchain_moa.serving.attendance import ClientGoneError, attended, ended
from tests.waiting import PATIENCE


async def gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def there() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def deaf(heard: asyncio.Event) -> None:
    """Lose the first cancellation, as `asyncio.wait_for` may."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        heard.set()
    await asyncio.Event().wait()


async def test_what_is_done_is_given() -> None:
    async def work() -> str:
        return "done"

    assert await attended(there, work()) == "done"


async def test_what_is_raised_is_raised() -> None:
    async def work() -> str:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # the very one
        await attended(there, work())


async def test_a_cancellation_that_is_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.serving.attendance._SECONDS_BETWEEN", 0.01)
    heard = asyncio.Event()
    with pytest.raises(ClientGoneError):
        async with asyncio.timeout(PATIENCE):
            await attended(gone, deaf(heard))
    assert heard.is_set()
    assert len(asyncio.all_tasks()) == 1


async def test_whoever_ends_others_ends_them_even_if_it_is_ended_itself() -> None:
    heard = asyncio.Event()
    inner = asyncio.create_task(deaf(heard))
    await asyncio.sleep(0)
    outer = asyncio.create_task(ended(inner))
    await heard.wait()
    outer.cancel()
    await asyncio.gather(outer, return_exceptions=True)
    assert outer.cancelled()
    assert inner.cancelled()
