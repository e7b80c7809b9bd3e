"""`langchain-moa serve` as a program: start, answers and shutdown."""

from __future__ import annotations

import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.loopback import Reply
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

TEXT = """
proposers: [openai:p, openai:q]
aggregator: openai:agg
num_layers: 1
"""
TWO = f"""
mixtures:
  one:{TEXT.replace(chr(10), chr(10) + "    ")}
  two:{TEXT.replace(chr(10), chr(10) + "    ").replace("openai:agg", "openai:other")}
"""
KEY = "key-of-the-test-0123456789"


@contextmanager
def serving(program: Program, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server; return it and its address."""
    process = program.start("serve", "--port", "0", *args)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        if line.startswith("note: using ./moa.yaml"):
            line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line + process.stderr.read()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def ask(url: str, model: str, **headers: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{url}/chat/completions", json=body, headers=headers, trust_env=False, timeout=PATIENCE)


def test_several_mixtures_and_a_public_address_with_a_key(program: Program) -> None:
    for name, text in {"fast.yaml": TEXT, "two.yaml": TWO, "keys": f"\ufeff# the test's\nann: {KEY}\n\n"}.items():
        (program.folder / name).write_text(text, encoding="utf-8")
    files = ("--config", "fast.yaml", "--config", "two.yaml")
    with serving(program, *files, "--host", "0.0.0.0", "--api-key-file", "keys") as (process, everywhere):  # noqa: S104  # refused without a key: see below
        url, key = everywhere.replace("0.0.0.0", "127.0.0.1"), f"Bearer {KEY}"  # noqa: S104  # a public address
        models = httpx.get(f"{url}/models", headers={"authorization": key}, trust_env=False, timeout=PATIENCE).json()["data"]
        assert [model["id"] for model in models] == ["fast", "one", "two"]
        assert ask(url, "fast", authorization=key).json()["choices"][0]["message"]["content"] == "agg says: Hi"
        assert ask(url, "two", authorization=key).json()["choices"][0]["message"]["content"] == "other says: Hi"
        assert ask(url, "fast").status_code == 401
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out == ""
    assert err.count("POST /v1/chat/completions 200") == 2
    assert err.count("key=ann model=fast calls=3") == 1
    assert "Traceback" not in err
    assert KEY not in err


@pytest.mark.parametrize("quiet", [False, True])
def test_degraded_answers_are_logged(program: Program, loopback: Loopback, quiet: bool) -> None:
    (program.folder / "moa.yaml").write_text(f"{TEXT}max_retries: 0\n", encoding="utf-8")
    loopback.script("q", Reply("out of order", status=400))
    port = _free_port()
    process = program.start("serve", "--port", str(port), *(["--quiet"] if quiet else []))
    try:
        url = f"http://127.0.0.1:{port}/v1"
        _await_up(url)
        assert ask(url, "moa").status_code == 200
        # Nor does a request that is no HTTP have a line of uvicorn's.
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"\x16\x03\x01garbage\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 400")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert "Invalid HTTP request" not in err
    if quiet:
        assert err == ""
    else:
        logged = [line for line in err.splitlines() if "is degraded" in line]
        assert len(logged) == 1
        # The log's own format rather than Python's.
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} an answer is degraded", logged[0])


def test_metrics_of_several_processes_have_the_running_answers(program: Program, loopback: Loopback) -> None:
    (program.folder / "moa.yaml").write_text(TEXT, encoding="utf-8")
    (program.folder / "metrics").mkdir()
    program.env["PROMETHEUS_MULTIPROC_DIR"] = str(program.folder / "metrics")
    gate = loopback.gate()
    loopback.script("agg", Reply("there", gate=gate))
    with serving(program) as (_, url), ThreadPoolExecutor() as pool:
        asking = pool.submit(ask, url, "moa")
        loopback.wait_for(1, "agg")
        page = httpx.get(f"{url.removesuffix('/v1')}/metrics", trust_env=False, timeout=PATIENCE).text
        gate.open()
        assert asking.result().status_code == 200
    assert "moa_answers_running 1.0" in page.splitlines()


def _free_port() -> int:
    """Return a free port below those that the system chooses, so that no other test's server takes it."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    msg = "no free port"
    raise AssertionError(msg)


def _await_up(url: str) -> None:
    def is_up() -> bool:
        try:
            return httpx.get(f"{url.removesuffix('/v1')}/health", trust_env=False, timeout=PATIENCE).is_success
        except httpx.TransportError:
            return False

    until(is_up, "the server to come up")


def test_running_answers_are_finished_first(program: Program, loopback: Loopback) -> None:
    (program.folder / "moa.yaml").write_text(TEXT, encoding="utf-8")
    gate = loopback.gate()
    loopback.script("agg", Reply("one two", gate=gate, after_chunks=1))
    body = {"model": "moa", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with serving(program) as (process, url):
        with httpx.stream("POST", f"{url}/chat/completions", json=body, trust_env=False, timeout=PATIENCE) as answer:
            lines = answer.iter_lines()
            next(line for line in lines if "one" in line)
            process.send_signal(signal.SIGINT)
            gate.open()
            rest = list(lines)
        process.communicate(timeout=PATIENCE)
    assert "data: [DONE]" in rest
    assert process.returncode == 0


def test_answers_unfinished_in_time_are_cancelled(program: Program, loopback: Loopback) -> None:
    (program.folder / "moa.yaml").write_text(TEXT, encoding="utf-8")
    loopback.script("agg", Reply("one two", hang=True, after_chunks=1))
    body: Any = {"model": "moa", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with serving(program, "--grace", "1") as (process, url):
        answering = httpx.stream("POST", f"{url}/chat/completions", json=body, trust_env=False, timeout=60)
        with answering as answer:
            lines = answer.iter_lines()
            next(line for line in lines if "one" in line)
            process.send_signal(signal.SIGTERM)
            rest = list(lines)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert [line for line in rest if line][-1].startswith('data: {"error":{"message":"this server is shutting down')
    assert [request.model for request in loopback.settle() if request.disconnected] == ["agg"]


def test_wrong_options_are_refused_at_start(moa: Command, tmp_path: Path) -> None:
    for name, text in {"moa.yaml": TEXT, "empty": "# empty\n", "short": "my-pet\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    wrong = {
        ("--host", "0.0.0.0"): "can be reached from other machines",  # noqa: S104  # a public address
        ("--api-key-file", "empty"): "there is no key",
        ("--api-key-file", "short"): "at least 16 printable",
        ("--api-key-file", "none"): "cannot read",
        ("--timeout", "0"): "timeout: 0.0 must be above 0",
        ("--progress", "much"): "progress: 'much' is unknown",
        ("--task-model", "slow=openai:x"): "there is no mixture 'slow'",
        ("--config", "moa.yaml", "--config", "moa.yaml"): "two mixtures have the name 'moa'",
        ("--config", "moa.yaml", "--preset", "local", "--layers", "2"): "change one mixture",
    }
    for args, words in wrong.items():
        done = moa("serve", "--port", "0", *args)
        assert done.code == 2, args
        assert words in " ".join(done.err.split())
        assert "my-pet" not in done.err
