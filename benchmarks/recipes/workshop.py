"""Shared code of the recipes: a folder with environments and clones, our command line, and the loopback models."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.loopback.reply import Behaviour

CONFIG = """proposers: [openai:one, openai:two]
aggregator: openai:writer
num_layers: 1
"""
MOA = ("https://github.com/togethercomputer/MoA", "819420f")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workshop:
    """The working environment of a recipe.

    Attributes:
        folder: The folder for all files.
        server: The server of the models and the judge.
    """

    folder: Path
    server: Loopback

    def run(self, *command: object, cwd: Path | None = None, **environment: str) -> str:
        """Run a command of the recipe, and return what it printed.

        Args:
            *command: The command and its arguments.
            cwd: The working directory. Default: the folder.
            **environment: Additional environment variables.

        Raises:
            SystemExit: The command failed. Its output is printed.
        """
        words = [str(word) for word in command]
        print("$", " ".join(words), flush=True)
        told = {"OPENAI_BASE_URL": self.server.url, "OPENAI_API_KEY": "test", "NO_PROXY": "127.0.0.1", **environment}
        done = subprocess.run(  # noqa: S603  # the recipe's own commands
            words, cwd=cwd or self.folder, env={**os.environ, **told}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}")
        return done.stdout

    def environment(self, name: str, *requirements: str) -> Path:
        """Create a virtual environment if it does not exist, and return its Python.

        Args:
            name: The name of the environment.
            *requirements: The requirements for pip.
        """
        home = self.folder / f"env-{name}"
        python = home / "bin" / "python"
        if not (home / "complete").exists():
            self.run(sys.executable, "-m", "venv", "--clear", home)
            self.run(python, "-m", "pip", "install", "--quiet", *requirements)
            (home / "complete").touch()
        return python

    def clone(self, address: str, commit: str) -> Path:
        """Clone a repository if it does not exist, and return its folder.

        Args:
            address: The URL.
            commit: The commit that the page names.
        """
        home = self.folder / address.rpartition("/")[2]
        if not home.exists():
            self.run("git", "clone", "--quiet", address, home)
            self.run("git", "checkout", "--quiet", commit, cwd=home)
        return home

    def generate(self, benchmark: str, questions: Path, output: Path, *, limit: int) -> list[dict[str, Any]]:
        """Let our mixture answer a benchmark's questions, and return the rows of the answer file.

        Args:
            benchmark: The name of the benchmark.
            questions: The question file.
            output: The answer file.
            limit: The number of questions.
        """
        (self.folder / "moa.yaml").write_text(CONFIG, encoding="utf-8")
        output.parent.mkdir(parents=True, exist_ok=True)
        ours = [sys.executable, "-m", "langchain_moa", "eval", "generate", "-b", benchmark, "--name", "moa"]
        given = ["--questions", questions.resolve(), "-c", "moa.yaml", "-o", output.resolve(), "--limit", str(limit)]
        self.run(*ours, *given, PYTHONPATH=str(_ROOT))
        return rows(output)


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON or JSONL file."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]


def write_rows(path: Path, objects: Sequence[Any]) -> None:
    """Write objects, one per line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")


@contextmanager
def workshop(description: str | None, **judges: Behaviour) -> Iterator[tuple[Workshop, argparse.Namespace]]:
    """Parse the command line, and open the workshop.

    Args:
        description: The description of the script.
        **judges: The behaviour of each judge, by model.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="where environments and clones go")
    parser.add_argument("--questions", type=Path, help="the benchmark's question file; default: two of our own, or the clone's")
    parser.add_argument("--limit", type=int, default=3, help="how many questions; default: 3")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with Loopback() as server:
        server.script("*", lambda body: f"{body['model']} says that the sky is blue.")
        for model, behaviour in judges.items():
            server.script(model.replace("_", "-"), behaviour)
        yield Workshop(given.folder.resolve(), server), given
    print(f"judged: {len(server.requests)} calls on the loopback")
