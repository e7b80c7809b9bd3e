"""What a mixture costs beside its calls: the same 3 x 2 + 1 mixture by several means, side by side.

    python -m benchmarks.speed            # or: make bench; some ten minutes

A server on this machine, in a process of its own, answers after a set time. Every contestant is a process of its own, too, and
they take turns, so that whatever else the machine does falls on all of them. A figure is the median of its rounds. CPU is that
of the contestant's process and so means something on a busy machine as well; wall-clock figures want an idle one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import wire
from benchmarks.peers import FOLDER, PEERS, python_of
from benchmarks.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from benchmarks.peers import Peer

CONTESTANTS = Path(__file__).parent / "contestants"
STEPS = 3  # two layers and the aggregator; each takes as long as its slowest call

# Some peers download tables and send telemetry on import; these settings prevent it.
_QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "SWARMS_TELEMETRY_ON": "False", "SWARMS_VERBOSE_GLOBAL": "False"}
# Each sync answer needs several threads; with more answers, thread switching would dominate.
_MOST_THREADS = 100


class Contestant(NamedTuple):
    """An implementation to measure.

    Attributes:
        title: The name in the tables.
        module: The module in `contestants`.
        function: The function of the module that creates it.
        python: The interpreter.
    """

    title: str
    module: str
    function: str = "make"
    python: Path = Path(sys.executable)


OURS_AND_BELOW = (
    Contestant("openai SDK, gather", "with_openai"),
    Contestant("ChatOpenAI, gather", "with_langchain"),
    Contestant("LangGraph by hand", "with_langgraph"),
    Contestant("create_moa, async", "with_moa", "make_graph"),
    Contestant("ChatMoA, async", "with_moa", "make_chat"),
    Contestant("create_moa, sync", "with_moa", "make_sync_graph"),
    Contestant("ChatMoA, sync", "with_moa", "make_sync_chat"),
)


class Worker:
    """The process of a contestant."""

    def __init__(self, contestant: Contestant, process: subprocess.Popen[str]) -> None:
        self.title = contestant.title
        self._process = process
        self.about = self._read()

    def __call__(self, ask: int, *, at_once: int = 1, **more: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"ask": ask, "at_once": at_once, **more}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = f"{self.title} has ended: run its worker by hand to see why"
            raise RuntimeError(msg)
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--call", type=float, default=0.2, help="seconds that a call takes (default: 0.2)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant has its turn (default: 5)")
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 10, 100, 1000], help="answers at once")
    parser.add_argument("--no-peers", action="store_true", help="leave the other packages out")
    parser.add_argument("--peers", type=Path, default=FOLDER, help=f"where their environments are (default: {FOLDER})")
    parser.add_argument("--only", nargs="*", choices=["cpu", "wall", "throughput", "wire"], help="only these tables")
    given = parser.parse_args()
    contestants, missing = entrants([] if given.no_peers else PEERS, given.peers)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}; 3 proposers x 2 layers + 1 aggregator, 7 calls an answer\n")
    wanted = given.only or ["cpu", "wall", "throughput", "wire"]
    with served(wire.serve) as (url, server), ExitStack() as stack:
        workers = [stack.enter_context(running(each, url)) for each in contestants]
        say(server, "delay", 0.0)
        for worker in workers:
            worker(3)
        if "cpu" in wanted:
            cpu(workers, given.rounds)
        say(server, "delay", given.call)
        if "wall" in wanted:
            wall(workers, given.rounds, STEPS * given.call)
        if "throughput" in wanted:
            throughput(workers, given.at_once, server)
        if "wire" in wanted:
            print(
                "| | calls | references that reach the aggregator | system message kept in | one call fails | one call hangs |"
            )
            print("|---|---:|---:|---:|---|---|")
            for contestant, worker in zip(contestants, workers, strict=True):
                with running(contestant, url, "1") as limited:
                    print(wire.row(worker, limited, lambda *said: say(server, *said)), flush=True)
            print()
    for name, reason in missing.items():
        print(f"{name} is left out: it {reason}")


def entrants(peers: Sequence[Peer], folder: Path) -> tuple[list[Contestant], dict[str, str]]:
    """Return the contestants, and those that are left out with the reason."""
    contestants, missing = list(OURS_AND_BELOW), {}
    for peer in peers:
        try:
            python = python_of(peer, folder)
        except RuntimeError as error:
            missing[peer.name] = str(error)
        else:
            title = peer.requirements[0].replace("==", " ")
            contestants.append(Contestant(title, f"with_{peer.name.replace('-', '_')}", python=python))
    return contestants, missing


def cpu(workers: list[Worker], rounds: int) -> None:
    """Print the CPU time per answer, sequentially, with a server that answers immediately."""
    answers = 20
    taken: dict[str, list[float]] = {worker.title: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            taken[worker.title].append(1000 * worker(answers)["cpu"] / answers)
    floor = median(taken[workers[0].title])
    print("| | CPU ms an answer | times the bare SDK's |\n|---|---:|---:|")
    for title, each in taken.items():
        print(f"| {title} | {median(each):.1f} | {median(each) / floor:.2f} |")
    print(flush=True)


def wall(workers: list[Worker], rounds: int, floor: float) -> None:
    """Print the time per answer and to its first text, sequentially, compared with the time of the calls themselves."""
    answers = 3
    whole: dict[str, list[float]] = {worker.title: [] for worker in workers}
    first: dict[str, list[float]] = {worker.title: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            whole[worker.title] += worker(answers)["seconds"]
            if worker.about["streams"]:
                first[worker.title] += worker(answers, stream=True)["first"]
    print(f"| floor: {1000 * floor:.0f} ms | an answer / floor | first text / floor |\n|---|---:|---:|")
    for title, each in whole.items():
        streamed = f"{median(first[title]) / floor:.3f}" if first[title] else "does not stream"
        print(f"| {title} | {median(each) / floor:.3f} | {streamed} |")
    print(flush=True)


def throughput(workers: list[Worker], at_once: list[int], server: Connection) -> None:
    """Print the answers per second, and the peak memory."""
    print(
        "| answers a second (errors), at once: | " + " | ".join(f"{each:,}" for each in at_once) + " | MB before | MB at most |"
    )
    print("|---|" + "---:|" * (len(at_once) + 2))
    cells: dict[str, list[str]] = {worker.title: [] for worker in workers}
    peaks: dict[str, float] = {}
    for many in at_once:
        for worker in workers:
            if many > _MOST_THREADS and not worker.about["async"]:
                cells[worker.title].append("-")
                continue
            answers = max(many, min(5 * many, 100))
            run = worker(answers, at_once=many)
            # Clear the server's record of requests, which would slow it down.
            say(server, "reset")
            errors = f" ({len(run['errors'])} {run['errors'][0].partition(':')[0]})" if run["errors"] else ""
            cells[worker.title].append(f"{(answers - len(run['errors'])) / run['wall']:.1f}{errors}")
            peaks[worker.title] = run["peak"]
    for worker in workers:
        title = worker.title
        print(f"| {title} | " + " | ".join(cells[title]) + f" | {worker.about['megabytes']:.0f} | {peaks[title]:.0f} |")
    print(flush=True)


@contextmanager
def running(contestant: Contestant, url: str, *limit: str) -> Iterator[Worker]:
    """Run the process of a contestant."""
    worker = CONTESTANTS / "worker.py"
    command: list[str | Path] = [
        contestant.python.absolute(),
        worker.absolute(),
        contestant.module,
        contestant.function,
        url,
        *limit,
    ]
    env = {**os.environ, **_QUIET, "OPENAI_API_KEY": "test", "OPENAI_BASE_URL": url, "NO_PROXY": "127.0.0.1"}
    pipe = subprocess.PIPE
    with (
        # Some contestants write files to the working directory.
        TemporaryDirectory() as folder,
        subprocess.Popen(  # noqa: S603  # our own
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=env, cwd=folder
        ) as process,
    ):
        try:
            yield Worker(contestant, process)
        finally:
            # Threads that hang would keep the process from ending.
            process.kill()


def say(server: Connection, *words: Any) -> Any:
    """Send a command to the server and return its reply."""
    server.send(words)
    return server.recv()


def machine() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    name = " ".join(model.partition(":")[2].split()) or platform.machine()
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores of {name}, Python {platform.python_version()}, load {load:.1f} at the start"


if __name__ == "__main__":
    main()
