"""A program that ends in the middle of an answer ends quietly and leaves no call open at the server."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.loopback import Reply
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.loopback import Loopback

BREAKS = """
import asyncio
import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_openai import ChatOpenAI
from openai import DEFAULT_CONNECTION_LIMITS, DefaultAsyncHttpxClient

from langchain_moa import ChatMoA

# ChatOpenAI keeps connections longer than their event loop, and warns about it without a mixture as well.
limits = type(DEFAULT_CONNECTION_LIMITS)(max_connections=None, max_keepalive_connections=0)
client = DefaultAsyncHttpxClient(limits=limits)

def chat(name):
    return ChatOpenAI(model=name, base_url=sys.argv[1], api_key="test", max_retries=0, http_async_client=client)

moa = ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), num_layers=1)
nested = ChatMoA(proposers=[chat("r")], aggregator=moa, num_layers=1)
chain = moa | StrOutputParser()

async def main(stream):
    async for _ in stream:
        break

for stream in (
    moa.astream("Hi"),
    chain.astream("Hi"),
    nested.astream("Hi"),
    moa.astream_events("Hi", version="v2"),
):
    asyncio.run(main(stream))
print("done")
"""


def test_a_stream_that_is_left_as_the_last_thing_is_closed_quietly(loopback: Loopback) -> None:
    loopback.script("agg", Reply("a b c", after_chunks=1, hang=True))
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", BREAKS, loopback.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603  # our own program
    assert (ended.stdout, ended.stderr) == ("done\n", "")
    assert [request.model for request in loopback.settle() if request.disconnected].count("agg") >= 3


INTERRUPTED = """
import signal
import sys

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI

from langchain_moa import ChatMoA, create_moa

def chat(name):
    return ChatOpenAI(model=name, base_url=sys.argv[1], api_key="test", max_retries=0)

def mixture(*proposers, aggregator=chat("agg"), **options):
    return ChatMoA(proposers=[*proposers], aggregator=aggregator, **{"num_layers": 1, **options})

def graph(*proposers, aggregator=chat("agg"), num_layers=1):
    return create_moa([*proposers], aggregator, num_layers=num_layers).compile()

hangs = chat("hangs")
question = {"messages": [("user", "Hi")]}
# A shell that starts a command in the background makes it ignore Ctrl-C, which child processes inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
for way in sys.argv[2:]:
    try:
        # Compiled before: after an `eval` of text that was interrupted, Python ends as if the program had been.
        eval(compile(way, "way", "eval"))
    except KeyboardInterrupt:
        print(way, flush=True)
"""

# The ways in which a program can ask, and the calls that are then running or done.
WAYS = {
    "mixture(hangs, chat('p'), num_layers=2).invoke('Hi')": 2,
    "list(mixture(hangs, chat('p'), num_layers=2).stream('Hi'))": 2,
    "mixture(hangs, chat('p'), deadline=3600, retry={'attempts': 3}).invoke('Hi')": 2,
    "mixture(chat('p'), aggregator=hangs, aggregator_fallbacks=[chat('agg')]).invoke('Hi')": 2,
    "list(mixture(chat('p'), aggregator=hangs).stream('Hi'))": 2,
    "mixture(chat('p'), chat('q'), aggregator=hangs, aggregation='select').invoke('Hi')": 3,
    "mixture(chat('p'), mixture(chat('q'), hangs)).invoke('Hi')": 3,
    "list(mixture(chat('p'), aggregator=mixture(chat('q'), hangs)).stream('Hi'))": 3,
    "graph(hangs, chat('p'), num_layers=2).invoke(question)": 2,
    "list(graph(hangs, chat('p'), num_layers=2).stream(question))": 2,
    "graph(chat('p'), graph(chat('q'), hangs)).invoke(question)": 3,
    "create_agent(mixture(chat('p'), hangs)).invoke({'messages': [('user', 'Hi')]})": 2,
}


@pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C is not heard before the main thread's wait is over")
def test_ctrl_c_ends_sync_code_at_once(loopback: Loopback) -> None:
    loopback.script("hangs", Reply(hang=True))
    command = [sys.executable, "-c", INTERRUPTED, loopback.url, *WAYS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:  # noqa: S603  # our own program
        assert program.stdout is not None
        # The calls hang forever, and so would everything that waits for them.
        watchdog = threading.Timer(10 * PATIENCE, program.kill)
        watchdog.start()
        try:
            assert program.stdout.readline() == "ready\n"
            arrived = 0
            for way, calls in WAYS.items():
                arrived += calls
                loopback.wait_for(arrived)
                program.send_signal(signal.SIGINT)
                assert program.stdout.readline() == f"{way}\n"
            assert program.communicate() == ("", "")
        finally:
            watchdog.cancel()
            program.kill()
    assert program.returncode == 0
    # After it, no member was asked that had not been asked before.
    assert len(loopback.settle()) == arrived
    assert "agg" not in loopback.models
