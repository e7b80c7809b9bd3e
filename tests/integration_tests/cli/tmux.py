"""A real terminal: tmux keeps the screen and takes keys, pastes and resizes."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


# The shell reports the exit code, which tmux 3.3 sometimes misses; the trap keeps Ctrl-C from ending the shell.
_SHELL = ["sh", "-c", 'trap : INT; "$@"; echo "[ended with $?]"', "sh"]
_ENDED = re.compile(r"\[ended with (\d+)\]")


@dataclass(frozen=True)
class Terminal:
    """A separate terminal, independent of the user's tmux.

    Args:
        folder: Where its socket is.
        width: Its width.
        height: Its height.
    """

    folder: Path
    width: int = 80
    height: int = 30

    def run(self, command: list[str], *, env: Mapping[str, str], folder: Path) -> None:
        """Start a program in the terminal."""
        (self.folder / "tmux.conf").write_text("set -g remain-on-exit on\nset -g status off\n", encoding="utf-8")
        size = ("-x", str(self.width), "-y", str(self.height))
        clean = {name: value for name, value in env.items() if name not in {"TMUX", "TERM"}}
        started = ("new-session", "-d", *size, "-c", str(folder), *_SHELL, *command)
        self._tmux("-f", str(self.folder / "tmux.conf"), *started, env=clean)

    def close(self) -> None:
        """End the terminal and the programs in it."""
        self._tmux("kill-server", check=False)

    @property
    def screen(self) -> str:
        """The contents of the screen, including what has scrolled off at the top."""
        return self._tmux("capture-pane", "-p", "-S", "-")

    @property
    def colored(self) -> str:
        """The screen with its color sequences."""
        return self._tmux("capture-pane", "-p", "-e", "-S", "-")

    @property
    def code(self) -> int:
        """The program's exit code, once it has ended."""
        until(lambda: _ENDED.search(self.screen) is not None, self._missing("the program to end"))
        return int(_ENDED.findall(self.screen)[-1])

    def see(self, text: str, *, times: int = 1) -> str:
        """Wait until a text is on the screen this number of times, and return the screen."""
        until(lambda: self.screen.count(text) >= times, self._missing(repr(text)))
        return self.screen

    def see_no_more(self, text: str) -> str:
        """Wait until a text is no longer on the screen, and return the screen."""
        until(lambda: text not in self.screen, self._missing(f"{text!r} to go"))
        return self.screen

    def type(self, text: str) -> None:
        """Type characters."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys, by their names in tmux: `Enter`, `C-c`, `M-Enter`, `Up`."""
        self._tmux("send-keys", *keys)

    def say(self, text: str) -> None:
        """Type a line and press Enter."""
        self.type(text)
        self.press("Enter")

    def paste(self, text: str) -> None:
        """Paste a text with brackets, as terminals do if a program enables it."""
        self._tmux("set-buffer", text)
        self._tmux("paste-buffer", "-p", "-d")

    def resize(self, width: int, height: int) -> None:
        """Resize the terminal."""
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def _missing(self, what: str) -> Callable[[], str]:
        return lambda: f"{what}; the screen is:\n{self.screen}"

    def _tmux(self, *args: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
        command = ["tmux", "-u", "-S", str(self.folder / "tmux.socket"), *args]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
        if check and done.returncode != 0:
            msg = f"{shlex.join(command)}: {done.stderr}"
            raise AssertionError(msg)
        return done.stdout
