"""Other packages with a mixture of agents, each in its own environment, which is created when it is first needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(".benchmarks/peers")


class Peer(NamedTuple):
    """A package.

    Attributes:
        name: The name of the package.
        requirements: The requirements for pip.
    """

    name: str
    requirements: tuple[str, ...]


# The same version of openai for all. distilabel imports requests without declaring it.
PEERS = (
    Peer("mixture-llm", ("mixture-llm==0.1.3", "openai==3.54.0")),
    Peer("distilabel", ("distilabel==1.5.3", "openai==3.54.0", "requests==2.32.5")),
    Peer("swarms", ("swarms==16.0.3", "openai==3.54.0")),
)


def python_of(peer: Peer, folder: Path = FOLDER) -> Path:
    """Return the interpreter of a peer's environment, and create the environment if it is missing or outdated.

    Raises:
        RuntimeError: It cannot be installed. The message has pip's error.
    """
    home = folder.resolve() / peer.name
    python, stamp, wanted = home / "bin" / "python", home / "requirements.txt", "\n".join(peer.requirements)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"installing {' '.join(peer.requirements)} into {home}", file=sys.stderr)
    commands: list[list[str | Path]] = [
        [sys.executable, "-m", "venv", "--clear", home],
        [python, "-m", "pip", "install", "-q", *peer.requirements],
    ]
    for command in commands:
        run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own commands
        if run.returncode:
            lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or run.stderr.splitlines()[-1:]
            msg = f"cannot be installed here: {' '.join(lines)[:200]}"
            raise RuntimeError(msg)
    stamp.write_text(wanted)
    return python
