"""Work without a client is cancelled, also if a cancellation is lost; events that are ready are sent together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.serving.errors import ApiError, ClientGoneError
from langchain_moa.serving.limits import Limits, Places
from langchain_moa.serving.streaming import EventStream, attended, encode_json, end_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


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


class Writer:
    last = b"END"

    def encode(self, event: Mapping[str, Any]) -> bytes:
        return encode_json(event)

    def fail(self, error: ApiError) -> list[Mapping[str, Any]]:
        return [{"error": error.code}]


async def bodies(events: AsyncGenerator[Mapping[str, Any]], reading: asyncio.Event | None = None) -> list[bytes]:
    """Return what is written, one item for each write. The first write waits for `reading`."""
    written = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            if reading is not None:
                await reading.wait()
            written.append(message["body"])

    stream = EventStream(events, Writer(), Limits())
    until = asyncio.get_running_loop().time() + 60
    await stream.send(there, send, places=Places(Limits()), until=until, headers={})
    return written


async def test_events_that_are_ready_are_one_write() -> None:
    async def events() -> AsyncGenerator[Mapping[str, Any]]:
        for number in range(3):
            yield {"n": number}

    assert await bodies(events()) == [b'{"n":0}{"n":1}{"n":2}', b"END"]


async def test_an_event_does_not_wait_for_the_next() -> None:
    sent = asyncio.Event()
    written: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            written.append(message["body"])
            sent.set()

    async def events() -> AsyncGenerator[Mapping[str, Any]]:
        yield {"n": 0}
        async with asyncio.timeout(60):
            await sent.wait()
        yield {"n": 1}

    stream = EventStream(events(), Writer(), Limits())
    until = asyncio.get_running_loop().time() + 60
    assert await stream.send(there, send, places=Places(Limits()), until=until, headers={}) is None
    assert written == [b'{"n":0}', b'{"n":1}', b"END"]


async def test_events_before_an_error_are_sent() -> None:
    async def events() -> AsyncGenerator[Mapping[str, Any]]:
        yield {"n": 0}
        raise ApiError(502, "no", code="aggregator_failed")

    assert await bodies(events()) == [b'{"n":0}', b'{"error":"aggregator_failed"}']


async def test_a_slow_reader_slows_the_answer_down() -> None:
    reading, made = asyncio.Event(), 0

    async def events() -> AsyncGenerator[Mapping[str, Any]]:
        nonlocal made
        for made in range(1, 1001):  # noqa: B007  # read below
            yield {}

    running = asyncio.create_task(bodies(events(), reading))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert made < 40
    reading.set()
    assert b"".join(await running) == b"{}" * 1000 + b"END"
