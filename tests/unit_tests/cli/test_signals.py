"""Ctrl-C and SIGTERM end a run, whatever the models' clients are doing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer

from langchain_moa.cli.signals import Interrupted, interruptible, run_until_signalled
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]
SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])

STUCK = """
import asyncio, os, signal, time
from langchain_moa.cli.exit_codes import explained
from langchain_moa.cli.signals import run_until_signalled

async def work():
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.to_thread(time.sleep, 3600)

with explained(debug=False):
    run_until_signalled(work())
"""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the watchdog that ends stuck programs from ending the test process, however slow the test is."""
    monkeypatch.setattr("langchain_moa.cli.signals._SECONDS_AT_MOST", PATIENCE)


async def wait() -> None:
    await asyncio.Event().wait()


async def signalled(number: signal.Signals) -> None:
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    await wait()


def test_what_is_not_signalled_returns() -> None:
    async def work() -> int:
        return 7

    assert run_until_signalled(work()) == 7


@SIGNALS
def test_a_signal_cancels_the_work(number: signal.Signals, code: int) -> None:
    cleaned = []

    async def work() -> None:
        try:
            await signalled(number)
        finally:
            cleaned.append(number)

    with pytest.raises(typer.Exit) as ended:
        run_until_signalled(work())
    assert ended.value.exit_code == code
    assert cleaned == [number]


@SIGNALS
def test_the_program_has_its_own_handlers_back(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit):
        run_until_signalled(signalled(number))
    assert signal.getsignal(number) is before
    assert not [
        thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and not thread.finished.is_set()
    ]


def test_a_cancellation_that_is_lost_is_repeated() -> None:
    lost: list[int] = []

    async def deaf() -> None:
        while len(lost) < 3:
            try:
                await wait()
            except asyncio.CancelledError:
                lost.append(len(lost))
        await wait()

    async def work() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        # As graphs wait for their nodes even if they are cancelled.
        await asyncio.shield(asyncio.create_task(deaf()))

    with pytest.raises(typer.Exit) as ended:
        run_until_signalled(work())
    assert ended.value.exit_code == 130
    assert lost == [0, 1, 2]


def test_what_cannot_be_cancelled_does_not_keep_the_program() -> None:
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", STUCK], capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_error_is_an_error() -> None:
    async def work() -> None:
        msg = "no answer"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="no answer"):
        run_until_signalled(work())


def test_any_thread_may_run() -> None:
    async def work() -> int:
        return 7

    with ThreadPoolExecutor() as threads:
        assert threads.submit(lambda: run_until_signalled(work())).result() == 7


def test_ctrl_c_ends_interruptible_work_and_the_program_goes_on() -> None:
    async def program() -> list[str]:
        told = []
        for _ in range(2):
            try:
                await interruptible(signalled(signal.SIGINT))
            except Interrupted:
                told.append("interrupted")
        # Between two runs, Ctrl-C is not handled here.
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        return [*told, await interruptible(asyncio.sleep(0, "done"))]

    before = signal.getsignal(signal.SIGINT)
    assert run_until_signalled(program(), by=(signal.SIGTERM,)) == ["interrupted", "interrupted", "done"]
    assert signal.getsignal(signal.SIGINT) is before


def test_interruptible_work_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost = []

    async def stubborn() -> None:
        try:
            await signalled(signal.SIGINT)
        except asyncio.CancelledError:
            lost.append(True)
        await wait()

    async def program() -> None:
        with pytest.raises(Interrupted):
            await interruptible(stubborn())

    run_until_signalled(program(), by=(signal.SIGTERM,))
    assert lost == [True]


def test_the_end_of_a_program_reaches_interruptible_work() -> None:
    with pytest.raises(typer.Exit) as ended:
        run_until_signalled(interruptible(signalled(signal.SIGTERM)), by=(signal.SIGTERM,))
    assert ended.value.exit_code == 143


def test_what_interruptible_work_raises_is_its_own() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_until_signalled(interruptible(fail()))


@SIGNALS
def test_the_first_signal_drains_and_the_second_cancels(number: signal.Signals, code: int) -> None:
    told: list[signal.Signals] = []

    async def work() -> str:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
        assert told == [number]
        await signalled(number)
        return "not reached"

    with pytest.raises(typer.Exit) as ended:
        run_until_signalled(work(), drain=told.append)
    assert ended.value.exit_code == code
    assert told == [number]


@SIGNALS
def test_work_that_drains_has_its_result(number: signal.Signals, code: int) -> None:
    drained = asyncio.Event()

    async def work() -> int:
        os.kill(os.getpid(), number)
        await drained.wait()
        return code

    assert run_until_signalled(work(), drain=lambda _: drained.set()) == code
