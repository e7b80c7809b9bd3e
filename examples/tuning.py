"""Which mixture pays for your task? Recorded answers are searched for it, and the mixture that is found answers; no key."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from langchain_moa import ChatMoA

# Answers of three models to 80 sums, as you would record your own: each is right in about seven of ten.
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

command = ["-m", "langchain_moa", "tune", "--recorded", "answers.jsonl", "--output", "tuned", "--quiet"]
subprocess.run([sys.executable, *command], cwd=folder, check=True)  # noqa: S603  # our own program

# The members have the path as it was given: `langchain-moa ask --config tuned/moa.yaml` from this folder does the same.
os.chdir(folder)
print("\n" + Path("tuned/moa.yaml").read_text().partition("\n\n")[2])
answer = ChatMoA.from_config("tuned/moa.yaml").invoke("What is 7 * 6 + 5?")
print(f"{answer.text} {answer.response_metadata['moa']['selected']}")
