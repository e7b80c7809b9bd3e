"""Clients that others wrote, each against an endpoint of its own on the loopback; prints the table of docs/serving.md.

    cd benchmarks/clients && npm install && python -m venv venv && venv/bin/pip install -r requirements.txt && cd ../..
    python -m benchmarks.clients.run [--folder benchmarks/clients] [--python benchmarks/clients/venv/bin/python] [NAME ...]

The models behind the mixture are a scripted server in this process, so that no key is needed and nothing is paid.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa import ChatMoA
from langchain_moa.serving import make_app, server
from tests.loopback import Loopback, Reply, able

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SECONDS = 300

# The failing mixtures, and the status of their aggregator's provider.
FAILING = {"wrong-key": 401, "broken": 500}


class Client(NamedTuple):
    """A client: its script, its package, and what is tested with it, besides what docs/serving.md says of all of them."""

    script: str
    package: str
    tried: str


CLIENTS = {
    "openai (Node)": Client(
        "openai_node.mjs",
        "openai",
        "chat and responses: whole, streamed, tool",
    ),
    "AI SDK": Client(
        "ai_sdk.mjs",
        "ai",
        "`openai()`, `openai.chat()`, openai-compatible: whole, streamed, tool loop",
    ),
    "LangChain.js": Client(
        "langchain_js.mjs",
        "@langchain/openai",
        "chat and responses: whole, streamed, tool, schema",
    ),
    "Codex CLI": Client("", "@openai/codex", "`codex exec`: an answer, and a shell command as a tool"),
    "openai-agents": Client(
        "openai_agents_client.py",
        "openai-agents",
        "chat and responses: tool loop, whole and streamed",
    ),
    "pydantic-ai": Client(
        "pydantic_ai_client.py",
        "pydantic-ai-slim",
        "chat and responses: whole, streamed, tool loop, schema",
    ),
    "litellm": Client(
        "litellm_client.py",
        "litellm",
        "chat and responses: whole, streamed, tool",
    ),
}


@contextmanager
def endpoint() -> Iterator[tuple[str, Loopback]]:
    """Serve a mixture whose aggregator follows instructions, and two whose aggregators fail."""
    with Loopback() as loopback:
        loopback.script("moa", codex_or_able)
        for name, status in FAILING.items():
            loopback.script(name, Reply("no answer", status=status))
        # Without retries of the mixture's own, so that the calls of an aggregator are the client's attempts.
        mixtures = {
            name: ChatMoA(
                proposers=[loopback.chat(f"{name} p"), loopback.chat(f"{name} q")],
                aggregator=loopback.chat(name),
                num_layers=1,
                references_per="turn",
                max_retries=0,
            )
            for name in ("moa", *FAILING)
        }
        listener = server.listen("127.0.0.1", 0)
        running = server.HttpServer(make_app(mixtures))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield server.url_of(listener), loopback
        finally:
            running.should_exit = running.force_exit = True
            thread.join()


def attempts(loopback: Loopback) -> tuple[str, bool]:
    """Return how often the client asked after each failure, and whether each question was asked and its proposers paid once."""
    said, good = [], True
    for name in FAILING:
        asked = Counter(request.user for request in loopback.calls(name))
        paid = Counter(request.user for request in loopback.calls(f"{name} p"))
        good = good and bool(asked) and asked.keys() == paid.keys() and set(paid.values()) == {1}
        said.append("/".join(str(number) for number in sorted(set(asked.values()))) or "-")
    return " | ".join(said), good


def codex_or_able(body: dict[str, object]) -> Reply:
    """Answer like a capable model; to Codex's question with a command, and then with the output of the command."""
    from tests.loopback import ToolCall

    messages = body["messages"]
    assert isinstance(messages, list)
    if "echo moa-was-here" not in json.dumps(messages):
        return able(body)
    if messages[-1]["role"] == "tool":
        return Reply(f"It said: {messages[-1]['content']}")
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools") or ()}  # type: ignore[attr-defined]
    name = next(name for name in ("exec_command", "shell_command", "shell") if name in tools)
    line = "echo moa-was-here"
    argument = {"exec_command": {"cmd": line}, "shell_command": {"command": line}}.get(name, {"command": ["sh", "-c", line]})
    return Reply(tool_calls=[ToolCall(name, argument)])


def run_codex(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for name in FAILING:
        if (failed := run_codex_once(url, folder, name, "Say hi.")).returncode == 0:
            return subprocess.CompletedProcess(failed.args, 1, failed.stdout, f"no failure of {name}")
    done = run_codex_once(url, folder, "moa", "Run echo moa-was-here and tell me what it said")
    ok = done.returncode == 0 and re.search(r"It said:.*moa-was-here", done.stdout, re.DOTALL)
    return done if ok else subprocess.CompletedProcess(done.args, done.returncode or 1, done.stdout, done.stderr)


def run_codex_once(url: str, folder: Path, model: str, question: str) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as home:
        provider = f'{{name = "moa", base_url = "{url}", wire_api = "responses"}}'
        settings = [f"model_providers.moa={provider}", 'model_provider="moa"', f'model="{model}"']
        options = [word for setting in settings for word in ("-c", setting)]
        command = [str(folder / "node_modules/.bin/codex"), "exec", *options, "--skip-git-repo-check", "--json"]
        command += ["--dangerously-bypass-approvals-and-sandbox", question]
        env = {**os.environ, "CODEX_HOME": home, "NO_PROXY": "127.0.0.1"}
        return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603  # the client


def run(name: str, client: Client, folder: Path, python: str) -> tuple[bool, str, str]:
    """Run a client; return whether it succeeded, its version, and its attempts after failures."""
    with endpoint() as (url, loopback):
        # Without this, litellm would download its price list.
        env = {**os.environ, "MOA_URL": url, "NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        env.pop("PYTHONPATH", None)
        if name == "Codex CLI":
            done = run_codex(url, folder)
        elif client.script.endswith(".mjs"):
            # Node looks for packages next to the script.
            script = folder / client.script
            if folder != HERE:
                copy(HERE / client.script, script)
            done = subprocess.run(["node", str(script)], env=env, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603, S607  # the client
        else:
            command = [python, str(HERE / client.script)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603  # the client
        asked, good = attempts(loopback)
    if done.returncode:
        sys.stderr.write(f"--- {name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n")
    return done.returncode == 0 and good, version(client, folder, python), asked


def version(client: Client, folder: Path, python: str) -> str:
    if client.script.endswith(".py"):
        code = f"from importlib.metadata import version; print(version({client.package!r}))"
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  # our own code
    text = (folder / "node_modules" / client.package / "package.json").read_text(encoding="utf-8")
    return str(json.loads(text)["version"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(CLIENTS))
    parser.add_argument("--folder", type=Path, default=HERE, help="where npm has installed the packages")
    parser.add_argument("--python", default=str(HERE / "venv/bin/python"), help="the Python with the clients")
    given = parser.parse_args()
    print("| client | version | tried with | calls after a 401 | after a 500 | |\n|---|---|---|---|---|---|")
    failed = False
    for name in given.names:
        ok, found, asked = run(name, CLIENTS[name], given.folder.resolve(), given.python)
        failed |= not ok
        print(f"| {name} | {found} | {CLIENTS[name].tried} | {asked} | {'works' if ok else 'FAILED'} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
