"""The portal in whole programs: their end, forks, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from time import sleep

import pytest

from tests.unit_tests.resilience.portals import PATIENCE

PRELUDE = """
import asyncio, os, sys, threading, time
from contextvars import ContextVar
from langchain_moa.limits.portal import Waits, in_worker, iterate, iterate_in_worker, leavable, wait_for

begun = threading.Event()

async def forever():
    try:
        begun.set()
        await asyncio.sleep(3600)
    finally:
        print("cancelled", flush=True)

async def forever_in_worker():
    try:
        await in_worker(hang)
    finally:
        print("cancelled", flush=True)

def hang():
    begun.set()
    threading.Event().wait()

async def items():
    yield 1
    await forever()

async def pid():
    return os.getpid()

def in_background(call):
    threading.Thread(target=call, daemon=True).start()
    assert begun.wait(60)
"""


def program(code: str) -> list[str]:
    return [sys.executable, "-c", PRELUDE + textwrap.dedent(code)]


def ended(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(  # noqa: S603  # a program of these tests
        program(code), capture_output=True, text=True, timeout=5 * PATIENCE, check=False
    )


class TestExit:
    """The portal does not keep a program from ending."""

    def test_nothing_is_printed_if_no_thread_can_start_any_more(self) -> None:
        # As at the end of every program from Python 3.12 on. Handlers run in reverse order.
        done = ended(
            """
            import atexit

            def refuse(self):
                raise RuntimeError("can't create new thread at interpreter shutdown")

            wait_for(pid)
            atexit.register(setattr, threading.Thread, "start", refuse)
            """
        )

        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("code", "printed"),
        [
            ("wait_for(pid)", []),
            ("list(iterate_in_worker_of(3))", []),
            ("in_background(lambda: wait_for(forever))", ["cancelled"]),
            ("in_background(lambda: wait_for(forever_in_worker))", ["cancelled"]),
            ("in_background(lambda: list(iterate(items)))", ["cancelled"]),
        ],
        ids=["nothing under way", "workers done", "a call", "a call in a worker", "an iteration"],
    )
    def test_a_program_ends_with_calls_under_way(self, code: str, printed: list[str]) -> None:
        helper = """
        async def _read(n):
            return [x async for x in iterate_in_worker(lambda: range(n))]

        def iterate_in_worker_of(n):
            return wait_for(_read, n)

        """
        done = ended(textwrap.dedent(helper) + code + "\nprint('end', flush=True)\n")
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["end", *printed], "")

    @pytest.mark.parametrize("start", ["found = iterate(items)", "found = leavable(iterate(items))"])
    def test_a_program_ends_with_a_stream_left_open(self, start: str) -> None:
        done = ended(f"{start}\nnext(found)\nprint('end', flush=True)\n")
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["end", "cancelled"], "")

    @pytest.mark.parametrize(
        "start",
        ["ThreadPoolExecutor(1).submit(wait_for, later)", "threading.Thread(target=wait_for, args=(later,)).start()"],
        ids=["pool", "thread"],
    )
    def test_what_python_waits_for_at_exit_is_not_cancelled(self, start: str) -> None:
        done = ended(
            f"""
            from concurrent.futures import ThreadPoolExecutor

            async def later():
                begun.set()
                await asyncio.sleep(0.5)
                print("done", flush=True)

            {start}
            assert begun.wait(60)
            print("end", flush=True)
            """
        )
        assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, ["done", "end"], "")

    @pytest.mark.parametrize(
        "start",
        ["threading.Thread(target=lambda: (threading.main_thread().join(), late())).start()", "atexit.register(late)"],
        ids=["thread", "exit handler"],
    )
    def test_what_asyncio_runs_in_threads_runs_at_exit(self, start: str) -> None:
        """As the lookup of the address of each new connection."""
        done = ended(
            f"""
            import atexit

            async def resolved():
                return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)

            async def failed():
                try:
                    await asyncio.to_thread(int, "x")
                except ValueError as error:
                    return error

            def late():
                print(bool(wait_for(resolved)), type(wait_for(failed)).__name__, flush=True)

            wait_for(pid)
            {start}
            """
        )
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True", "ValueError"], "")

    def test_a_program_ends_that_is_called_while_it_ends(self) -> None:
        done = ended(
            """
            import atexit
            # Exit handlers run in reverse order: this one before the portal is stopped.
            atexit.register(lambda: print(wait_for(pid) == os.getpid(), flush=True))
            wait_for(pid)
            """
        )
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    """A forked child gets its own portal."""

    @pytest.mark.parametrize(
        "before",
        [
            "",
            "wait_for(pid)",
            "in_background(lambda: wait_for(forever))",
            "found = iterate(items)\nnext(found)\nassert begun.wait(60)",
        ],
        ids=["not used before", "used before", "a call under way", "a stream under way"],
    )
    def test_parent_and_children_each_have_their_own(self, before: str) -> None:
        """As under a server that loads the program and then forks its workers."""
        done = ended(
            before
            + """
found = None if "found" not in globals() else found
for number in range(2):
    child = os.fork()
    if not child:
        async def nested():
            return await in_worker(lambda: wait_for(pid))
        assert wait_for(pid) == wait_for(nested) == os.getpid()
        if found is not None:
            found.close()
        print("child", flush=True)
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert wait_for(pid) == os.getpid()
print("parent", flush=True)
if found is not None:
    found.close()
"""
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[:3] == ["child", "child", "parent"], done.stderr
        assert "Traceback" not in done.stderr.split("Exception in thread")[0]

    def test_a_child_of_multiprocessing_has_its_own(self) -> None:
        done = ended(
            """
            import multiprocessing

            def work(_):
                return wait_for(pid) == os.getpid()

            wait_for(pid)
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(work, range(4)), flush=True)
            """
        )
        assert (done.returncode, done.stdout) == (0, "[True, True, True, True]\n"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
class TestInterrupt:
    """Ctrl-C cancels what the main thread waits for."""

    @pytest.mark.parametrize(
        "wait",
        [
            "wait_for(forever)",
            "wait_for(forever_in_worker)",
            "list(iterate(items))",
            "list(leavable(iterate(items)))",
            "list(leavable(x for x in [wait_for(forever)]))",
            "list(leavable(steps()))",
        ],
    )
    def test_it_ends_the_wait_and_the_task(self, wait: str) -> None:
        code = f"""
        def steps():
            # As LangGraph runs its nodes, for which it always waits.
            from concurrent.futures import ThreadPoolExecutor
            from contextvars import copy_context
            with ThreadPoolExecutor(1) as pool:
                yield pool.submit(copy_context().run, wait_for, forever).result()

        def tell():
            begun.wait(60)
            # Until the main thread waits for the outcome.
            while not any(name in str(sys._current_frames()[threading.main_thread().ident]) for name in ("wait", "iterate")):
                time.sleep(0.01)
            print("waiting", flush=True)

        threading.Thread(target=tell, daemon=True).start()
        try:
            {wait}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        # The portal serves the next call.
        assert wait_for(pid) == os.getpid()
        """
        process = subprocess.Popen(  # noqa: S603  # a program of these tests
            program(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            sleep(0.05)
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=5 * PATIENCE)
        finally:
            process.kill()
        # Two threads print, so their lines may run together.
        assert sorted(printed.replace("\n", "")) == sorted("cancelledinterrupted"), errors
        assert (process.returncode, errors) == (0, "")
