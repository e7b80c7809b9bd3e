"""A caller that leaves cancels all calls in flight, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import ChatMoA, create_moa
from tests.loopback import Reply
from tests.time_limits import LIMITS
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

HANGS = Reply(hang=True)


async def closed(loopback: Loopback) -> None:
    """Wait until no call is open at the server."""
    await asyncio.to_thread(loopback.settle)


async def arrived(loopback: Loopback, count: int) -> None:
    await asyncio.to_thread(loopback.wait_for, count)


async def _settled() -> None:
    """Collect garbage, and let the tasks end that result from it."""
    async with asyncio.timeout(PATIENCE):
        gc.collect()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
            gc.collect()


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """Check that no task, no thread and no warning of the event loop is left behind."""
    # The thread that `asyncio.to_thread` uses remains.
    await asyncio.to_thread(lambda: None)
    loop, complaints = asyncio.get_running_loop(), []
    # The client of OpenAI's SDK closes itself when it is garbage collected, in the loop that then runs. Clients of earlier
    # tests cannot, because their connections belong to a closed loop. This test ignores these errors.
    loop.set_exception_handler(lambda *_: None)
    await _settled()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    # LangChain leaves the innermost generator of a closed stream to the event loop, which closes it in a separate task.
    await _settled()
    assert complaints == []
    assert [thread for thread in threading.enumerate() if thread.name == "moa-call"] == []


@pytest.fixture(params=["plain", "limits"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Without time limits, and with distant ones."""
    far_off = {"proposer_timeout": 3600, "deadline": 3600, "quorum": 3, "retry": {"attempts": 3}}
    return {} if request.param == "plain" else far_off


@pytest.fixture(params=["proposers", "aggregator"])
def hanging(request: pytest.FixtureRequest, loopback: Loopback) -> int:
    """Where the answer hangs; returns how many calls have arrived by then."""
    for name in "pqr" if request.param == "proposers" else ["agg"]:
        loopback.script(name, HANGS)
    return 3 if request.param == "proposers" else 4


@pytest.fixture
def moa(chat: Chat, options: dict[str, Any]) -> ChatMoA:
    return ChatMoA(proposers=[chat("p"), chat("q"), chat("r")], aggregator=chat("agg"), num_layers=1, **options)


def gone(loopback: Loopback, hanging: int) -> bool:
    """Return whether the client closed exactly the calls that hung."""
    hung = loopback.requests[:3] if hanging == 3 else loopback.requests[3:]
    return [request for request in loopback.requests if request.disconnected] == hung


async def read(stream: Any) -> None:
    async for _ in stream:
        pass


@pytest.mark.usefixtures("quiet")
async def test_a_cancelled_answer_closes_its_calls(loopback: Loopback, moa: ChatMoA, hanging: int) -> None:
    task = asyncio.create_task(moa.ainvoke("Hi"))
    await arrived(loopback, hanging)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed(loopback)
    assert gone(loopback, hanging)


@pytest.mark.usefixtures("quiet")
async def test_a_cancelled_stream_closes_its_calls(loopback: Loopback, moa: ChatMoA, hanging: int) -> None:
    task = asyncio.create_task(read(moa.astream("Hi")))
    await arrived(loopback, hanging)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed(loopback)
    assert gone(loopback, hanging)


@pytest.mark.usefixtures("quiet")
async def test_a_callers_timeout_closes_the_calls(loopback: Loopback, moa: ChatMoA, hanging: int) -> None:
    async def end() -> None:
        await arrived(loopback, hanging)
        scope.reschedule(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError):  # noqa: PT012  # the caller's timeout
        async with asyncio.timeout(None) as scope:
            ending = asyncio.create_task(end())
            await moa.ainvoke("Hi")
    await ending
    await closed(loopback)
    assert gone(loopback, hanging)


@pytest.mark.usefixtures("quiet")
async def test_wait_for_closes_the_calls(loopback: Loopback, moa: ChatMoA, hanging: int) -> None:
    for limit in LIMITS:
        loopback.reset()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(moa.ainvoke("Hi"), limit)
        await closed(loopback)
        if len(loopback.requests) == hanging:
            break  # otherwise the machine was too busy for this limit
    assert gone(loopback, hanging)


@pytest.mark.usefixtures("quiet")
async def test_a_failing_sibling_in_a_task_group_closes_the_calls(loopback: Loopback, moa: ChatMoA, hanging: int) -> None:
    async def fail() -> None:
        await arrived(loopback, hanging)
        msg = "a sibling"
        raise ValueError(msg)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(moa.ainvoke("Hi"))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await both()
    await closed(loopback)
    assert gone(loopback, hanging)


@pytest.mark.usefixtures("quiet")
async def test_a_cancelled_graph_closes_its_calls(
    loopback: Loopback, chat: Chat, options: dict[str, Any], hanging: int
) -> None:
    graph = create_moa([chat("p"), chat("q"), chat("r")], chat("agg"), num_layers=1, **options).compile()
    question: Any = {"messages": [("user", "Hi")]}
    task = asyncio.create_task(read(graph.astream(question)))
    await arrived(loopback, hanging)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed(loopback)
    assert gone(loopback, hanging)


@pytest.mark.usefixtures("quiet")
async def test_a_stream_that_is_closed_closes_its_call(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply("one two three four", hang=True, after_chunks=2))
    stream: Any = moa.astream("Hi")
    assert "one" in [(await anext(stream)).text, (await anext(stream)).text]
    await stream.aclose()
    await closed(loopback)
    assert [request.model for request in loopback.requests if request.disconnected] == ["agg"]


@pytest.mark.usefixtures("quiet")
async def test_a_stream_that_is_left_closes_its_call(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply("one two three four", hang=True, after_chunks=2))
    async for chunk in moa.astream("Hi"):
        if chunk.text:
            break
    await closed(loopback)
    assert [request.model for request in loopback.requests if request.disconnected] == ["agg"]


@pytest.mark.usefixtures("quiet")
async def test_the_events_of_a_graph_that_are_left_close_its_calls(
    loopback: Loopback, chat: Chat, options: dict[str, Any]
) -> None:
    for name in "pqr":
        loopback.script(name, HANGS)
    graph = create_moa([chat("p"), chat("q"), chat("r")], chat("agg"), num_layers=1, **options).compile()
    question: Any = {"messages": [("user", "Hi")]}
    stream: Any = graph.astream(question, stream_mode="custom")
    await anext(stream)
    await arrived(loopback, 3)
    await stream.aclose()
    await closed(loopback)
    assert gone(loopback, 3)


@pytest.mark.usefixtures("quiet")
async def test_many_cancelled_at_once(loopback: Loopback, moa: ChatMoA) -> None:
    for name in "pqr":
        loopback.script(name, HANGS)
    tasks = [asyncio.create_task(moa.ainvoke("Hi")) for _ in range(20)]
    await arrived(loopback, 60)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}
    await closed(loopback)
    assert all(request.disconnected for request in loopback.requests)


@pytest.mark.usefixtures("quiet")
async def test_a_wait_between_two_attempts_ends_with_the_caller(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    loopback.script("p", Reply("slow down", status=429, headers={"retry-after": "3600"}))
    options: Any = {"num_layers": 1, "proposer_timeout": 7200, "retry": {"maximum": 7200}}
    moa = ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), **options)
    task = asyncio.create_task(moa.ainvoke("Hi"))
    with caplog.at_level(logging.INFO, logger="langchain_moa"):
        # The client may not yet have read the server's answer; the wait has begun once it is logged.
        await asyncio.to_thread(until, lambda: "attempt 1 failed" in caplog.text, "the wait to begin")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(loopback.requests) == 1


def test_a_sync_stream_that_is_left_keeps_nobody_waiting(loopback: Loopback, moa: ChatMoA) -> None:
    """The caller leaves at once, and the call is closed at its server although the answer is held back there."""
    gate = loopback.gate()
    loopback.script("agg", Reply("one two three four five six", gate=gate, after_chunks=2, chunk_delay=0.05))
    stream: Any = moa.stream("Hi")
    while "two" not in next(stream).text:
        pass
    stream.close()
    assert [request.model for request in loopback.settle() if request.disconnected] == ["agg"]


@pytest.mark.parametrize("where", ["the main thread", "another thread"])
def test_a_graphs_sync_stream_that_is_left_keeps_nobody_waiting(loopback: Loopback, chat: Chat, where: str) -> None:
    loopback.script("q", HANGS)
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=2).compile()
    question: Any = {"messages": [("user", "Hi")]}

    def leave() -> None:
        stream: Any = graph.stream(question, stream_mode="updates")
        assert "references" in next(iter(next(stream).values()))
        loopback.wait_for(2)
        stream.close()

    if where == "the main thread":
        leave()
    else:
        thread = threading.Thread(target=leave, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert sorted(request.model for request in loopback.requests) == ["p", "q"]


@pytest.mark.parametrize("where", ["the main thread", "another thread"])
def test_a_graphs_sync_stream_goes_on_when_it_is_asked_to(loopback: Loopback, chat: Chat, where: str) -> None:
    """A caller that takes one step and pauses does not pay for the next one."""
    graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=1).compile()
    question: Any = {"messages": [("user", "Hi")]}
    models: list[list[str]] = []

    def walk() -> None:
        stream: Any = graph.stream(question, stream_mode="updates")
        for _ in range(2):
            next(stream)
        loopback.settle()
        models.append(loopback.models)
        list(stream)

    if where == "the main thread":
        walk()
    else:
        thread = threading.Thread(target=walk)
        thread.start()
        thread.join()
    assert [sorted(each) for each in models] == [["p", "q"]]
    assert sorted(loopback.models) == ["agg", "p", "q"]


PROGRAM = """
import asyncio, sys
from langchain_openai import ChatOpenAI
from langchain_moa import ChatMoA
from openai import DEFAULT_CONNECTION_LIMITS, DefaultAsyncHttpxClient

# ChatOpenAI keeps connections longer than their event loop, and warns about it without a mixture as well.
limits = type(DEFAULT_CONNECTION_LIMITS)(max_connections=None, max_keepalive_connections=0)
client = DefaultAsyncHttpxClient(limits=limits)

def chat(model):
    return ChatOpenAI(model=model, base_url=sys.argv[1], api_key="test", max_retries=0, http_async_client=client)

moa = ChatMoA(proposers=[chat("p"), chat("slow")], aggregator=chat("agg"), num_layers=1, quorum=1, quorum_grace=0)
{body}
print("done")
"""

PROGRAMS = {
    "sync straggler": "print(moa.invoke('Hi').text)",
    "async straggler": "print(asyncio.run(moa.ainvoke('Hi')).text)",
    "async stream left": """
async def main():
    async for chunk in moa.astream("Hi"):
        if chunk.text:
            print("agg says: Hi")
            break
    await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "async timeout": """
async def main():
    try:
        async with asyncio.timeout(1):
            await moa.model_copy(update={"aggregator": chat("slow")}).ainvoke("Hi")
    except TimeoutError:
        print("agg says: Hi")
asyncio.run(main())
""",
}


@pytest.mark.parametrize("body", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_program_ends_without_a_word_of_complaint(loopback: Loopback, body: str) -> None:
    """A straggler does not keep a program from ending, and nothing is printed about what is left."""
    loopback.script("slow", HANGS)
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM.format(body=body), loopback.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603  # our own program
    assert ended.stdout == "agg says: Hi\ndone\n"
    assert ended.stderr == ""


ENDINGS = {
    "a thread that goes on": (
        # Python 3.12.0 and 3.12.1 start no thread by then, so the loop has to run already.
        """
moa.invoke("Hi")
threading.Thread(target=lambda: (threading.main_thread().join(), print(moa.invoke("Hi").text))).start()
""",
        "done\nagg says: Hi\n",
    ),
    "an exit handler": ("moa.invoke('Hi'); atexit.register(lambda: print(moa.invoke('Hi').text))", "done\nagg says: Hi\n"),
    "a daemon thread": (
        """
begun = threading.Event()
def call():
    for part in moa.model_copy(update={"aggregator": chat("cut")}).stream("Hi"):
        begun.set()
threading.Thread(target=call, daemon=True).start()
begun.wait()
""",
        "done\n",
    ),
}


@pytest.mark.parametrize(("body", "printed"), ENDINGS.values(), ids=ENDINGS.keys())
def test_threads_at_the_end_of_a_program(loopback: Loopback, body: str, printed: str) -> None:
    """Those that Python waits for get their answers, with new connections. The others stop without a word."""
    loopback.script("slow", HANGS)
    loopback.script("cut", Reply("one two three four", hang=True, after_chunks=2))
    code = "import atexit, threading\n" + PROGRAM.format(body=body)
    command = [sys.executable, "-c", code, loopback.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603  # our own program
    assert (ended.stdout, ended.stderr) == (printed, "")
