"""Find the best mixture for a task from recorded answers, then ask it and serve it; needs no key."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from starlette.testclient import TestClient

from langchain_moa import ChatMoA
from langchain_moa.serving import make_app

# Answers of three models to 80 sums, in the format for your own recorded answers. Each is right in about 70%.
draw = random.Random(1)  # noqa: S311  # a sample, not a secret
folder = Path(tempfile.mkdtemp())
rows = []
for number in range(80):
    right = 7 * number + 5
    said = {
        name: right if draw.random() < 0.7 else right + wrong for wrong, name in enumerate(("one", "two", "three"), start=1)
    }
    rows.append(
        {
            "question": f"What is 7 * {number} + 5?",
            "answer": right,
            "recorded": {name: f"The answer is {value}." for name, value in said.items()},
        }
    )
(folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))


def langchain_moa(*words: str) -> None:
    """Run the command line as a program, in the folder."""
    subprocess.run([sys.executable, "-m", "langchain_moa", *words, "--quiet"], cwd=folder, check=True)  # noqa: S603  # our own


langchain_moa("tune", "--recorded", "answers.jsonl", "--output", "tuned")
print("\n" + (folder / "tuned/moa.yaml").read_text().partition("\n\n")[2])

# The members refer to the recorded answers by a relative path, so ask from the same folder: on the command line, ...
langchain_moa("ask", "--config", "tuned/moa.yaml", "What is 7 * 6 + 5?")

# ... in Python, ...
os.chdir(folder)
moa = ChatMoA.from_config("tuned/moa.yaml")
answer = moa.invoke("What is 7 * 6 + 5?")
print(f"{answer.text} {answer.response_metadata['moa']['selected']}")

# ... and over HTTP, as `langchain-moa serve --config tuned/moa.yaml` does.
asked = {"model": "tuned", "messages": [{"role": "user", "content": "What is 7 * 6 + 5?"}]}
with TestClient(make_app({"tuned": moa}), base_url="http://127.0.0.1") as client:
    print("Served:", client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"])
