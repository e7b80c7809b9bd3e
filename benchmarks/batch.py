"""Batches against a loopback server: answers per second by processes and on Ray, and the cost of an answer as rows grow.

The models answer at once, in another process, so the seconds are those of the software. A run is the program `langchain-moa
batch`; its seconds count from its first answer, and its memory is the maximum.

    python -m benchmarks.batch speed [--rows 1000]
    python -m benchmarks.batch growth [--rows 1000 10000 30000]
    python -m benchmarks.batch killed [--rows 10000] [--kills 5]
    python -m benchmarks.batch half-price [--rows 1000]

The last one calls three layers and an aggregator by batch jobs of a provider that fails 2% of the lines.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING

from benchmarks.serving import served
from tests.integration_tests.batch.job_server import JobServer, says
from tests.loopback import Loopback
from tests.loopback.recorded import last_user_text

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from tests.loopback.reply import Body

FIELDS = ("-p", "openai:p", "-p", "openai:q", "-a", "openai:agg", "--layers", "1", "--concurrency", "16")
CALLS = 3
FAILING = 0.02


def models(pipe: Connection) -> None:
    """Serve the models until `end` is received; reply to any other message with the number of calls and of distinct calls."""
    asked: Counter[tuple[str, str]] = Counter()

    def answer(body: Body) -> str:
        asked[body["model"], last_user_text(body["messages"])[:40]] += 1
        return "So it is."

    with Loopback() as loopback:
        loopback.script("*", answer)
        pipe.send(loopback.url)
        while pipe.recv() != "end":
            # Limit the server's record of requests, which grows with their number.
            loopback.reset()
            pipe.send((sum(asked.values()), len(asked)))


def write(path: Path, rows: range) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps({"id": row, "prompt": f"Why is {row} a number? {'x' * 200}"}) + "\n" for row in rows)


def start(folder: Path, url: str, name: str, *more: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    files = (f"{name}.jsonl", "-o", f"{name}-answers.jsonl")
    command = [sys.executable, "-m", "langchain_moa", "batch", *files, *FIELDS, "--quiet", *more]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)  # noqa: S603  # our own program


def waited(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Wait for a program to end, and return its CPU seconds and its peak memory in MB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def is_over(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a program has ended, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def first_line(path: Path) -> float:
    while not path.exists() or not path.stat().st_size:
        sleep(0.02)
    return monotonic()


def speed(rows: int) -> None:
    print(f"{'':24}{'answers/s':>12}{'MB each':>10}")
    for title, processes, more in (
        ("1 process", 1, ()),
        ("2 processes", 2, ()),
        ("Ray, 1 worker", 1, ("--ray", "local", "--workers", "1")),
        ("Ray, 2 workers", 1, ("--ray", "local", "--workers", "2")),
    ):
        with TemporaryDirectory() as name, served(models) as (url, _):
            folder = Path(name)
            share = rows // processes
            for number in range(processes):
                write(folder / f"{number}.jsonl", range(number * share, (number + 1) * share))
            running = [start(folder, url, str(number), *more) for number in range(processes)]
            began = min(first_line(folder / f"{number}-answers.jsonl") for number in range(processes))
            most = max(waited(process)[1] for process in running)
            print(f"{title:24}{rows / (monotonic() - began):12.1f}{most:10.0f}")


def growth(sizes: list[int]) -> None:
    print(f"{'rows':>10}{'answers/s':>12}{'CPU ms/answer':>16}{'MB at most':>12}{'journal MB':>12}")
    for rows in sizes:
        with TemporaryDirectory() as name, served(models) as (url, pipe):
            folder = Path(name)
            write(folder / "0.jsonl", range(rows))
            process = start(folder, url, "0")
            began = first_line(folder / "0-answers.jsonl")
            while not is_over(process):
                pipe.send("count")
                pipe.recv()
                sleep(1)
            cpu, most = waited(process)
            seconds = monotonic() - began
            journal = (folder / "0-answers.jsonl.journal").stat().st_size / 1e6
            print(f"{rows:10,}{rows / seconds:12.1f}{1000 * cpu / rows:16.1f}{most:12.0f}{journal:12.1f}")


def killed(rows: int, kills: int) -> None:
    chance = random.Random(5)  # noqa: S311  # chooses when to kill it
    at = sorted(chance.sample(range(rows // 20, rows), kills))
    with TemporaryDirectory() as name, served(models) as (url, pipe):
        folder = Path(name)
        write(folder / "0.jsonl", range(rows))
        out = folder / "0-answers.jsonl"
        process = start(folder, url, "0")
        for number in at:
            while (sum(1 for _ in out.open("rb")) if out.exists() else 0) < number:
                pipe.send("count")
                pipe.recv()
                assert process.poll() is None
                sleep(0.5)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start(folder, url, "0")
        _, most = waited(process)
        pipe.send("count")
        calls, different = pipe.recv()
        ids = Counter(json.loads(line)["id"] for line in out.open())
        doubled, again = sum(ids.values()) - len(ids), calls - different
        print(f"{rows:,} rows, killed after {', '.join(map(str, at))} answers: {len(ids):,} rows in the output, {doubled} of")
        print(f"them twice; {different:,} calls, {again} of them twice; {most:.0f} MB at most in the last process")
        assert len(ids) == rows
        assert different == CALLS * rows


def half_price(rows: int) -> None:
    chance = random.Random(1)  # noqa: S311  # chooses the lines that fail
    asked: Counter[str] = Counter()
    refused = 0

    def sometimes(body: Body) -> tuple[int, str]:
        nonlocal refused
        asked[json.dumps(body, sort_keys=True)] += 1
        if chance.random() < FAILING:
            refused += 1
            return 500, "try again"
        return says(body)

    with TemporaryDirectory() as name, JobServer() as server:
        server.answer = sometimes
        folder = Path(name)
        write(folder / "0.jsonl", range(rows))
        began = monotonic()
        more = ("--half-price", "--poll", "1", "--layers", "3", "--temperature", "0.5")
        cpu, most = waited(start(folder, f"{server.url}/v1", "0", *more))
        seconds = monotonic() - began
        lines = [json.loads(line) for line in (folder / "0-answers.jsonl").open()]
        failed = sum(line["error"] is not None for line in lines)
        degraded = sum(bool(line["degraded"]) for line in lines)
        print(f"{rows:,} rows, three layers: {len(lines):,} in the output, {failed} failed, {degraded} degraded;")
        print(
            f"{len(server.jobs)} jobs with {sum(len(job.lines) for job in server.jobs):,} lines, of which {refused:,} failed;"
        )
        print(f"{len(asked):,} different calls, each {max(asked.values())} times at most;")
        print(f"{seconds:.0f} s, {1000 * cpu / rows:.0f} ms of CPU for a row, {most:.0f} MB at most")
        assert len(lines) == rows
        assert len(server.direct) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "growth", "killed", "half-price"))
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    match given.what:
        case "speed":
            speed((given.rows or [1000])[0])
        case "growth":
            growth(given.rows or [1000, 10_000, 30_000])
        case "half-price":
            half_price((given.rows or [1000])[0])
        case "killed":
            killed((given.rows or [10_000])[0], given.kills)


if __name__ == "__main__":
    main()
