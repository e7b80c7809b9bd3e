"""Three sums for `eval compare`: one model adds correctly, one incorrectly, and so does the aggregator alone."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tests.loopback import Reply
from tests.loopback.recorded import last_user_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback
    from tests.loopback.reply import Body

MIXTURE = """
proposers: [openai:good, openai:bad]
aggregator: openai:writer
num_layers: 2
"""

# Calls per question: two proposers twice, the aggregator after each layer and alone, four samples and their synthesis.
CALLS = {"good": 2 + 4 + 1, "bad": 2, "writer": 3}

PRICED = "proposers: [openai:gpt-4.1-mini, openai:gpt-4o-mini]\naggregator: openai:gpt-4.1-nano\nnum_layers: 1\n"


def right(body: Body) -> int:
    """Return the sum in a question."""
    return sum(map(int, re.findall(r"\d+", last_user_text(body["messages"]))))


def has_references(body: Body) -> bool:
    """Return whether a prompt shows answers."""
    return "synthesize" in str(body["messages"])


def whole(questions: int = 3) -> Counter[str]:
    """Return how often each model is asked for this number of questions."""
    return Counter({model: questions * calls for model, calls in CALLS.items()})


def lay_out(loopback: Loopback, folder: Path) -> Path:
    """Script the models, and write the mixture and the questions."""
    # Their answers depend on what they read; otherwise, the aggregator would read the same after each layer.
    loopback.script("good", lambda body: f"{'So the' if has_references(body) else 'The'} answer is {right(body)}.")
    loopback.script("bad", lambda body: f"The answer is {right(body) + 1}.")
    loopback.script("writer", lambda body: f"It is {right(body) + (not has_references(body))}")
    (folder / "moa.yaml").write_text(MIXTURE, encoding="utf-8")
    return write_sums(folder, 3)


def write_sums(folder: Path, count: int) -> Path:
    """Write this number of questions."""
    path = folder / "sums.jsonl"
    lines = [{"id": f"q{a}", "question": f"What is {a} + 2?", "answer": a + 2} for a in range(3, 3 + count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def hang_after(loopback: Loopback, answers: int) -> Counter[str]:
    """Have the models answer this number of calls and no more; return a counter of the models that answered."""
    answered = Counter[str]()

    def script(model: str) -> None:
        def answer(body: Body) -> Reply:
            if sum(answered.values()) >= answers:
                return Reply(hang=True)
            answered[model] += 1
            return Reply(f"{'So the' if has_references(body) else 'The'} answer is {right(body)}.")

        loopback.script(model, answer)

    for model in CALLS:
        script(model)
    return answered


def journal(folder: Path) -> list[dict[str, Any]]:
    """Return the records in the journal, once no run has it open."""
    with closing(sqlite3.connect(folder / "moa-eval" / "sums" / "calls.journal")) as database:
        return [json.loads(line) for (line,) in database.execute("SELECT record FROM calls")]
