from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.local import ChecksumError, ServerError
from langchain_moa.local import server as module
from langchain_moa.local.server import Server, aload, serve
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

# Replaces host.py without llama.cpp: the settings, process and environment go to a file next to the "model".
FAKE_HOST = """
import json, os, sys
settings = json.loads(sys.stdin.readline())
with open(settings["path"] + ".log", "a") as log:
    log.write(json.dumps({"pid": os.getpid(), "argv": sys.argv, "environ": dict(os.environ), **settings}) + "\\n")
if "broken" in settings["path"]:
    print("0.00.010.566 E gguf_init: invalid magic, key", settings["key"], file=sys.stderr)
    print("0.00.010.600 E srv: exiting", file=sys.stderr)
    sys.exit(1)
print(json.dumps({"address": "http://127.0.0.1:1"}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "host.py"
    path.write_text(FAKE_HOST)
    monkeypatch.setattr(module, "_HOST", path)
    monkeypatch.setattr(module, "_servers", {})
    yield path
    module._stop_all()


def started(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{path}.log").read_text().splitlines()]


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # a zombie has ended; it only waits to be asked for its code


def test_many_threads_that_want_a_model_share_one_server(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with ThreadPoolExecutor(8) as pool:
        servers = set(pool.map(lambda _: serve(path, name="m"), range(8)))
    assert len(servers) == 1
    assert len(started(path)) == 1


def test_each_file_has_a_server_and_a_key_of_its_own(tmp_path: Path) -> None:
    one, two = (serve(tmp_path / name, name=name) for name in ("one.gguf", "two.gguf"))
    assert one is not two
    assert one.key != two.key


def test_the_key_is_in_no_text_no_argument_and_no_variable(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    server = serve(path, name="m")
    (host,) = started(path)
    assert host["key"] == server.key
    assert len(server.key) >= 32
    assert server.key not in f"{server} {server!r} {host['argv']} {host['environ']}"


def test_waiting_threads_are_told_not_to_spin_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    serve(path, name="m").stop()
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    serve(path, name="m")
    assert [host["environ"]["OMP_WAIT_POLICY"] for host in started(path)] == ["passive", "active"]


def test_a_server_that_has_died_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    first = serve(path, name="m")
    first._process.kill()
    first._process.wait()
    second = serve(path, name="m")
    assert second.is_running
    assert second.key != first.key


def test_a_file_that_cannot_be_loaded_is_an_error_with_the_reason_and_without_the_key(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    with pytest.raises(ServerError, match=r"cannot serve .*broken\.gguf: gguf_init: invalid magic, key \*\*\*$") as caught:
        serve(path, name="m")
    assert started(path)[0]["key"] not in str(caught.value)
    assert not module._servers


def test_a_host_that_says_nothing_is_an_error_with_its_exit_code(tmp_path: Path, host: Path) -> None:
    host.write_text("import sys; sys.exit(3)")
    with pytest.raises(ServerError, match="exit code 3"):
        serve(tmp_path / "model.gguf", name="m")


def test_a_traceback_is_told_by_its_last_line(tmp_path: Path, host: Path) -> None:
    host.write_text("import sys; sys.stdin.readline(); raise ImportError('no llama here')")
    with pytest.raises(ServerError, match=r"ImportError: no llama here$"):
        serve(tmp_path / "model.gguf", name="m")


def test_a_model_that_was_loaded_while_all_stop_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, stop = serve(tmp_path / "a.gguf", name="a"), Server.stop

    def load_another(server: Server) -> None:
        if server is first:
            serve(tmp_path / "b.gguf", name="b")
        stop(server)

    monkeypatch.setattr(Server, "stop", load_another)
    module._stop_all()
    assert all(has_ended(started(tmp_path / f"{name}.gguf")[0]["pid"]) for name in "ab")


def test_a_stopped_server_has_ended(tmp_path: Path) -> None:
    server: Server = serve(tmp_path / "model.gguf", name="m")
    server.stop()
    assert not server.is_running


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603  # our own code


USER = """
import os, pathlib, signal, sys
from langchain_moa.local import server
server._HOST = pathlib.Path(sys.argv[1])
path = pathlib.Path(sys.argv[2])
server.serve(path, name="m")
"""
ENDS = {
    "normally": "",
    "by an error": "raise SystemExit(1)",
    "at once": "os._exit(0)",
    "by a kill": "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.parametrize("end", ENDS)
def test_a_server_ends_with_its_process_however_that_ends(end: str, tmp_path: Path, host: Path) -> None:
    path = tmp_path / "model.gguf"
    command = [sys.executable, "-W", "error", "-c", USER + ENDS[end], str(host), str(path)]
    done = run(command)
    assert done.stderr == ""
    (server,) = started(path)
    until(lambda: has_ended(server["pid"]), "the server to end")


FORK = """
child = os.fork()
if child == 0:
    mine = server.serve(path, name="m")
    sys.exit(0)
_, code = os.waitpid(child, 0)
assert code == 0, code
assert server.serve(path, name="m").is_running
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_has_a_server_of_its_own_and_leaves_its_parents_alone(tmp_path: Path, host: Path) -> None:
    path = tmp_path / "model.gguf"
    command = [sys.executable, "-c", USER + FORK, str(host), str(path)]
    done = run(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(started(path)) == 2


def test_a_file_that_fails_its_check_is_not_loaded(tmp_path: Path) -> None:
    def check() -> None:
        msg = "was changed"
        raise ChecksumError(msg)

    with pytest.raises(ChecksumError, match="was changed"):
        serve(tmp_path / "model.gguf", name="m", check=check)
    assert not (tmp_path / "model.gguf.log").exists()


async def test_what_was_loaded_and_what_went_wrong_come_back() -> None:
    assert await aload(lambda: "a server") == "a server"

    def fail() -> None:
        msg = "no such file"
        raise OSError(msg)

    with pytest.raises(OSError, match="no such file"):
        await aload(fail)


def test_a_loop_that_ends_does_not_wait_for_a_model_that_loads() -> None:
    begun, released = threading.Event(), threading.Event()

    def load() -> None:
        begun.set()
        released.wait(60)

    async def leave() -> None:
        task = asyncio.create_task(aload(load))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    [left] = [thread for thread in threading.enumerate() if thread.name == "moa-load"]
    assert left.daemon
    released.set()
    left.join(10)
    assert not left.is_alive()
