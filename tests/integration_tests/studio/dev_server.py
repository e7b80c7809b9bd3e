"""`langgraph dev` as a user starts it, in its own folder and without access to other machines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import httpx

from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_QUIET = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "LANGSMITH_TRACING": "false",
    # No server runs at this proxy's address, so all requests to other machines fail.
    **{f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")},
    "no_proxy": "127.0.0.1",
}
# Variables of the user who runs the tests, which must neither be used nor affect the tests.
_FOREIGN = (
    "LANGSMITH_",
    "LANGCHAIN_",
    "LANGGRAPH_",
    "OPENAI_",
    "TOGETHER_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)
_KEPT = ("LANGCHAIN_MOA_CACHE",)


class DevServer:
    """A development server on a free port; the server's own files go into its folder.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, folder: Path, *, config: Path, env: Mapping[str, str]) -> None:
        """Prepare a server; it runs from `__enter__` to `__exit__`.

        Args:
            folder: Where it runs.
            config: Its `langgraph.json`.
            env: Environment variables, beside this process's.
        """
        self._folder = folder
        environment = {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_FOREIGN)}
        self._env = {**environment, **_QUIET, **env}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            *(sys.executable, "-m", "langgraph_cli", "dev", "--host", "127.0.0.1", "--port", str(port)),
            *("--config", str(config), "--no-browser", "--no-reload"),
        ]

    @property
    def log(self) -> str:
        """The server's output so far."""
        return (self._folder / "server.log").read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                self._command, cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            until(lambda: self._is_up() or self._process.poll() is not None, "langgraph dev to come up")
        except TimeoutError:
            self._process.kill()
        if self._process.poll() is not None:
            msg = f"langgraph dev did not come up:\n{self.log}"
            raise RuntimeError(msg)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the server."""
        self._process.terminate()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ok", timeout=PATIENCE, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
