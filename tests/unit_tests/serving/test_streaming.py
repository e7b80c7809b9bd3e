"""Work without a client is cancelled, also if a cancellation is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langchain_moa.serving.errors import ApiError, ClientGoneError
from langchain_moa.serving.limits import Limits, Places
from langchain_moa.serving.streaming import attended, end_tasks


async def gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def there() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def deaf(heard: asyncio.Event) -> None:
    """Ignore the first cancellation, as `asyncio.wait_for` may do."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        heard.set()
    await asyncio.Event().wait()


async def attend(receive: Any, work: Any, *, seconds: float = 60, places: Places | None = None) -> Any:
    until = asyncio.get_running_loop().time() + seconds
    return await attended(receive, work, places=places or Places(Limits()), until=until, limits=Limits())


async def test_results_are_returned() -> None:
    async def work() -> str:
        return "done"

    assert await attend(there, work()) == "done"


async def test_errors_are_raised() -> None:
    async def work() -> str:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # the very one
        await attend(there, work())


async def test_a_lost_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.serving.streaming._SECONDS_BETWEEN", 0.01)
    heard = asyncio.Event()
    with pytest.raises(ClientGoneError):
        async with asyncio.timeout(10):
            await attend(gone, deaf(heard))
    assert heard.is_set()
    assert len(asyncio.all_tasks()) == 1


async def test_end_tasks_ends_them_even_if_it_is_cancelled() -> None:
    heard = asyncio.Event()
    inner = asyncio.create_task(deaf(heard))
    await asyncio.sleep(0)
    outer = asyncio.create_task(end_tasks(inner))
    await heard.wait()
    outer.cancel()
    await asyncio.gather(outer, return_exceptions=True)
    assert outer.cancelled()
    assert inner.cancelled()


async def test_the_time_limit() -> None:
    with pytest.raises(ApiError) as caught:
        await attend(there, asyncio.Event().wait(), seconds=0.01)
    assert (caught.value.status, caught.value.code) == (504, "timeout")


async def test_a_shutdown_ends_the_work() -> None:
    places = Places(Limits())
    places.expire()
    with pytest.raises(ApiError) as caught:
        await attend(there, asyncio.Event().wait(), places=places)
    assert (caught.value.status, caught.value.code) == (503, "shutting_down")
