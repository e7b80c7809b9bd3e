"""The endpoint under load: good clients, whole and streamed, beside clients that hold connections; how long `/health` takes.

Models are a loopback server in a process of its own that answers after a short pause. The endpoint is `langchain-moa serve`
with its limits at their defaults. The hostile clients send half a header, half a body, garbage, and long conversations whose
answers they never read. Every good client must get its answer. `/health` is asked from a process of its own, over a new
connection each time; so is an idle server, whose worst time is the machine's own. All times are in seconds.

    python -m benchmarks.serving_load [--seconds 5] [--connections 8 64 256] [--hostile 32] [--messages 2048]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from http.client import OK, HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from threading import Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.serving import served
from tests.loopback import Loopback, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

KIND = b"content-type: application/json\r\n"


def models(pipe: Connection) -> None:
    with Loopback() as loopback:
        loopback.script("*", Reply("a short answer of seven words here", delay=0.05))
        pipe.send(loopback.url)
        pipe.recv()


@contextmanager
def endpoint(models_at: str, most: int) -> Iterator[str]:
    """Run `langchain-moa serve`, and yield its address."""
    fields = ("-p", "openai:p", "-p", "openai:q", "-a", "openai:agg", "--layers", "1", "--max-requests", str(most))
    env = {**os.environ, "OPENAI_BASE_URL": models_at, "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "langchain_moa", "serve", "--port", "0", *fields]
    with TemporaryFile("w+") as log, subprocess.Popen(command, env=env, stderr=log) as process:  # noqa: S603  # our own program
        try:
            while not (found := re.search(r"http://\S+", Path(f"/dev/fd/{log.fileno()}").read_text(encoding="utf-8"))):
                assert process.poll() is None
                sleep(0.1)
            yield found[0].removesuffix("/v1")
        finally:
            process.terminate()


async def good(url: str, until: float, seconds: list[float], failed: list[str], *, stream: bool) -> None:
    """Ask questions one after another on one connection. Plain HTTP, so that clients use little CPU."""
    parts = urlsplit(url)
    body = json.dumps({"model": "moa", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + KIND
    request += b"content-length: %d\r\n\r\n" % len(body) + body
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while perf_counter() < until:
        started = perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        said = await (reader.readuntil(b"\r\n0\r\n\r\n") if length is None else reader.readexactly(int(length[1])))
        seconds.append(perf_counter() - started)
        if b" 200 " not in head[:20] or (stream and b"[DONE]" not in said):
            failed.append(repr(head + said[:200]))
    writer.close()


async def hostile(url: str, number: int, until: float, messages: int) -> None:
    """Misuse connections in one of four ways."""
    parts = urlsplit(url)
    long = json.dumps({"model": "moa", "stream": True, "messages": [{"role": "user", "content": "Hi"}] * messages}).encode()
    sent = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + KIND + b"content-length: 1000\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + KIND + b"content-length: %d\r\n\r\n" % len(long) + long,
        b"GARBAGE\r\n\r\n",
    )[number % 4]
    while perf_counter() < until:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            writer.write(sent)
            # Do not read the response.
            await asyncio.sleep(min(2, max(0, until - perf_counter())))
            writer.transport.abort()


def idle(pipe: Connection) -> None:
    """Serve only `/health`, as a control that shows the delays of the machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(OK)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        pipe.send(f"http://127.0.0.1:{server.server_port}")
        pipe.recv()
        server.shutdown()


def watch(pipe: Connection, *urls: str) -> None:
    """Request `/health` of each server ten times a second, in a separate process, and send the times at the end."""
    taken: list[list[float]] = [[] for _ in urls]
    pipe.send("ready")
    while not pipe.poll(0.1):
        for url, times in zip(urls, taken, strict=True):
            parts = urlsplit(url)
            started = perf_counter()
            connection = HTTPConnection(parts.hostname or "", parts.port, timeout=120)
            connection.request("GET", "/health")
            assert connection.getresponse().status == OK
            times.append(perf_counter() - started)
            connection.close()
    pipe.recv()
    pipe.send(taken)


async def measure(url: str, connections: int, *, bad: int, messages: int, seconds: float, stream: bool) -> list[Any]:
    until = perf_counter() + seconds
    taken: list[float] = []
    failed: list[str] = []
    work = [good(url, until, taken, failed, stream=stream) for _ in range(connections)]
    await asyncio.gather(*work, *(hostile(url, number, until, messages) for number in range(bad)))
    if failed:
        sys.stderr.write(f"{failed[0]}\n")
    return [connections, "streamed" if stream else "whole", len(taken), len(failed), f"{median(taken):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--hostile", type=int, default=32)
    parser.add_argument("--messages", type=int, default=2048, help="messages of the hostile clients' conversations")
    given = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}")
    print("| connections | | answers | failed | median | `/health`: median | worst | idle server: worst |")
    print("|---|---|---|---|---|---|---|---|")
    with (
        served(models) as (models_url, _),
        served(idle) as (idle_url, _),
        endpoint(models_url, max(given.connections) + given.hostile) as url,
    ):
        for connections in given.connections:
            for stream in (False, True):
                with served(watch, url, idle_url) as (_, pipe):
                    row = asyncio.run(
                        measure(
                            url,
                            connections,
                            bad=given.hostile,
                            messages=given.messages,
                            seconds=given.seconds,
                            stream=stream,
                        )
                    )
                    pipe.send("tell")
                    health, control = pipe.recv()
                row += [f"{median(health):.3f}", f"{max(health):.3f}", f"{max(control):.3f}"]
                print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
