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


class Client(NamedTuple):
    """A client: its script, its package, and what is tested with it."""

    script: str
    package: str
    tried: str


CLIENTS = {
    "openai (Node)": Client("openai_node.mjs", "openai", "chat and responses: whole, streamed, tool"),
    "AI SDK": Client(
        "ai_sdk.mjs", "ai", "`openai()`, `openai.chat()`, openai-compatible: whole, streamed, tool loop, progress"
    ),
    "LangChain.js": Client(
        "langchain_js.mjs", "@langchain/openai", "chat and responses: whole, streamed, tool, schema; no retry after a 403"
    ),
    "Codex CLI": Client("", "@openai/codex", "`codex exec`: an answer, and a shell command as a tool"),
    "openai-agents": Client("openai_agents_client.py", "openai-agents", "chat and responses: tool loop, whole and streamed"),
    "pydantic-ai": Client(
        "pydantic_ai_client.py", "pydantic-ai-slim", "chat and responses: whole, streamed, tool loop, schema"
    ),
    "litellm": Client("litellm_client.py", "litellm", "chat and responses: whole, streamed, tool"),
}


@contextmanager
def endpoint() -> Iterator[str]:
    """Serve a mixture whose aggregator follows instructions, and yield the address."""
    with Loopback() as loopback:
        loopback.script("agg", codex_or_able)
        loopback.script("refused", Reply("wrong key", status=401))
        p, q = loopback.chat("p"), loopback.chat("q")
        mixtures = {
            name: ChatMoA(proposers=[p, q], aggregator=loopback.chat(aggregator), num_layers=1, references_per="turn")
            for name, aggregator in {"moa": "agg", "wrong-key": "refused"}.items()
        }
        listener = server.listen("127.0.0.1", 0)
        running = server.HttpServer(make_app(mixtures))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield server.url_of(listener)
        finally:
            running.should_exit = running.force_exit = True
            thread.join()


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
    with TemporaryDirectory() as home:
        provider = f'{{name = "moa", base_url = "{url}", wire_api = "responses"}}'
        settings = [f"model_providers.moa={provider}", 'model_provider="moa"', 'model="moa"']
        options = [word for setting in settings for word in ("-c", setting)]
        command = [str(folder / "node_modules/.bin/codex"), "exec", *options, "--skip-git-repo-check", "--json"]
        command += ["--dangerously-bypass-approvals-and-sandbox", "Run echo moa-was-here and tell me what it said"]
        env = {**os.environ, "CODEX_HOME": home, "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603  # the client
        ok = done.returncode == 0 and re.search(r"It said:.*moa-was-here", done.stdout, re.DOTALL)
        return done if ok else subprocess.CompletedProcess(command, done.returncode or 1, done.stdout, done.stderr)


def run(name: str, client: Client, folder: Path, python: str) -> tuple[bool, str]:
    """Run a client, and return whether it succeeded, and its version."""
    with endpoint() as url:
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
    if done.returncode:
        sys.stderr.write(f"--- {name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n")
    return done.returncode == 0, version(client, folder, python)


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
    print("| client | version | tried with | |\n|---|---|---|---|")
    failed = False
    for name in given.names:
        ok, found = run(name, CLIENTS[name], given.folder.resolve(), given.python)
        failed |= not ok
        print(f"| {name} | {found} | {CLIENTS[name].tried} | {'works' if ok else 'FAILED'} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
