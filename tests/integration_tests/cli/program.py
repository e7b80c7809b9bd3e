"""The command line as a separate program, in pipes or in a terminal, with its models at the loopback server."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.loopback import Loopback

_ROOT = Path(__file__).parents[3]
# `python -m langchain_moa`, with more than its two seconds for cancelling calls before it ends without having cleaned up.
_PATIENT = """
import runpy
from langchain_moa.cli import signals

signals._SECONDS_AT_MOST *= 60
runpy.run_module("langchain_moa", run_name="__main__", alter_sys=True)
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Done:
    """A program that has ended, with its exit code and output."""

    code: int
    out: str
    err: str = ""

    @property
    def text(self) -> str:
        """The output without the sequences that move the cursor and set colors."""
        return _CONTROL.sub("", self.out).replace("\r\n", "\n")


@dataclass(frozen=True)
class Program:
    """Starts the command line in a separate process.

    Args:
        server: Where every `openai:` model is.
        folder: The working directory.
        env: More variables.
    """

    server: Loopback
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *args: str, stdin: str | None = None) -> Done:
        """Run the program to its end, with pipes."""
        with self.start(*args, **({} if stdin is None else {"stdin": subprocess.PIPE})) as process:
            return _ended(process, stdin)

    def signalled(self, *args: str, calls: int, by: signal.Signals = signal.SIGINT) -> Done:
        """Run the program until the server has received this number of calls, then send it a signal."""
        with self.start(*args) as process:
            self._await_calls(process, calls)
            process.send_signal(by)
            return _ended(process, None)

    @contextmanager
    def begun(self, *args: str, calls: int) -> Iterator[subprocess.Popen[str]]:
        """Start the program and wait until the server has received this number of calls; the program ends with the block."""
        with self.start(*args) as process:
            try:
                self._await_calls(process, calls)
                yield process
            finally:
                process.kill()

    def in_terminal(
        self,
        *args: str,
        width: int = 80,
        height: int = 40,
        type_at: int | None = None,
        type_after: bytes = b"",
        typed: bytes = b"",
        seen: str | None = None,
        then: Callable[[], object] | None = None,
        **streams: Any,
    ) -> Done:
        """Run the program to its end, in a terminal.

        Args:
            *args: Its arguments.
            width: The terminal's width.
            height: The terminal's height.
            type_at: After so many calls something is typed.
            type_after: After this output something is typed.
            typed: What is typed.
            seen: Something that is awaited on the screen.
            then: Called once it has been seen.
            **streams: Streams that are not the terminal.
        """
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        everything = {"stdin": slave, "stdout": slave, "stderr": slave, **streams}
        # A new session with its own terminal, so that Ctrl-C reaches the program and not the tests.
        with self.start(*args, preexec_fn=_own_terminal, **everything) as process:
            os.close(slave)
            if type_at is not None:
                self._await_calls(process, type_at)
                os.write(master, typed)
            if type_after:
                seen, then = type_after.decode(), lambda: os.write(master, typed)
            watchdog = threading.Timer(PATIENCE, process.kill)
            watchdog.start()
            try:
                written = _read_all(master, seen, then)
            finally:
                watchdog.cancel()
            done = _ended(process, None)
        return Done(done.code, written.decode(), done.out)

    def start(self, *args: str, **streams: Any) -> subprocess.Popen[str]:
        """Start the program without waiting; all streams are pipes unless given, and standard input is empty."""
        piped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(  # noqa: S603  # our own program
            self.command(*args), **{**piped, **streams}, cwd=self.folder, env=self.environment, text=True
        )

    def command(self, *args: str) -> list[str]:
        """Return the command that starts the program."""
        return [sys.executable, "-c", _PATIENT, *args]

    @property
    def environment(self) -> dict[str, str]:
        """The program's environment."""
        models = {"OPENAI_BASE_URL": self.server.url, "OPENAI_API_KEY": "test", "NO_PROXY": "127.0.0.1"}
        return {**_inherited(), **models, "TERM": "xterm", "PYTHONPATH": str(_ROOT), **self.env}

    def _await_calls(self, process: subprocess.Popen[str], calls: int) -> None:
        def told() -> str:
            process.kill()
            return f"{calls} calls; {len(self.server.requests)} came, and the program said: {process.communicate()}"

        until(lambda: len(self.server.requests) >= calls or process.poll() is not None, told)
        if len(self.server.requests) < calls:
            raise AssertionError(told())


def until_signal_is_heard(process: subprocess.Popen[str]) -> str:
    """Wait until the program reports the first signal.

    Args:
        process: The program; its standard error is a pipe.

    Returns:
        All that it has said.
    """
    assert process.stderr is not None
    told = ""
    while "once more ends at once" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    return told


def _inherited() -> dict[str, str]:
    """Return our environment without the variables that change how a terminal looks, or how Python writes."""
    left_out = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONUNBUFFERED"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _ended(process: subprocess.Popen[str], stdin: str | None) -> Done:
    try:
        out, err = process.communicate(stdin, timeout=PATIENCE)
    except BaseException:
        process.kill()
        raise
    return Done(process.returncode, out or "", err or "")


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def _read_all(master: int, seen: str | None, then: Callable[[], object] | None) -> bytes:
    written = b""
    try:
        while piece := os.read(master, 65536):
            written += piece
            if seen is not None and then is not None and seen in _CONTROL.sub("", written.decode(errors="replace")):
                then()
                then = None
    except OSError:  # how Linux says that the last one has closed the terminal
        pass
    finally:
        os.close(master)
    assert seen is None or then is None, f"the program ended, or was killed, before it wrote {seen!r}: {written.decode()}"
    return written
