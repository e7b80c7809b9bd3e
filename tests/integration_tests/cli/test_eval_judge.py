"""`eval compare --scorer judge` at the wire."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration_tests.cli import sums
from tests.loopback import Reply
from tests.loopback.recorded import last_user_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.loopback import Loopback
    from tests.loopback.reply import Behaviour, Body

JUDGED = ("eval", "compare", "--task", "open.jsonl", "--scorer", "judge", "--judge", "openai:judge")


@pytest.fixture(autouse=True)
def _task(loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text(sums.MIXTURE.replace("num_layers: 2", "num_layers: 1"), encoding="utf-8")
    (tmp_path / "open.jsonl").write_text('{"instruction": "Write a poem."}\n', encoding="utf-8")
    loopback.script("writer", "MIXTURE")
    loopback.script("good", "GOOD")
    loopback.script("bad", "BAD")


def _prefers_good(body: Body) -> str:
    text = last_user_text(body["messages"])
    a = re.search(r"<answer_A>\n(\w+)", text)
    assert a is not None
    # GOOD is preferred in any position; otherwise, the first one is.
    return "[[A]]" if a[1] == "GOOD" or "GOOD" not in text else "[[B]]"


def test_a_judge_sees_each_pair_in_both_orders(moa: Command, loopback: Loopback) -> None:
    loopback.script("judge", _prefers_good)
    done = moa(*JUDGED, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {each["name"]: each["score"] for each in found["figures"]} == {
        "the mixture": 0.5,
        "openai:good alone": 1.0,
        "openai:bad alone": 0.5,
        "openai:writer alone, the aggregator": 0.5,
        "openai:good x 2, Self-MoA": 1.0,
    }
    # Equal texts are not judged, and decided pairs are not judged again.
    pairs = [tuple(re.findall(r"<answer_.>\n(\w+)", last_user_text(call.body["messages"]))) for call in loopback.calls("judge")]
    assert Counter(pairs) == {
        ("GOOD", "MIXTURE"): 1,
        ("MIXTURE", "GOOD"): 1,
        ("BAD", "MIXTURE"): 1,
        ("MIXTURE", "BAD"): 1,
    }
    [note] = found["notes"]
    assert note.startswith(
        "The judge openai:judge compared 3 pairs of answers, each in both orders; for 33% it preferred the same"
    )
    assert "3 of 3 comparisons" in done.err
    before = len(loopback.requests)
    assert moa(*JUDGED).code == 0
    assert len(loopback.requests) == before
    assert "11 of them answered before" in moa(*JUDGED, "--estimate").err


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("I cannot say.", "6 of 6 judgments had no verdict and count as a tie"),
        ("[[A]]", "The judge openai:judge prefers a position and not an answer; use another judge"),
        (Reply(status=500), r"6 of 6 judgments failed: OpenAIAPIError: Error code: 500 - scripted error 500 \(6 times\)"),
    ],
)
def test_a_judge_that_is_none_gives_no_result(moa: Command, loopback: Loopback, judge: Behaviour, said: str) -> None:
    loopback.script("judge", judge)
    done = moa(*JUDGED)
    assert done.code == 1
    assert re.search(said, done.err)


def test_one_judgment_that_fails_loses_no_other(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    lines = [json.dumps({"instruction": f"Write poem {number}."}) for number in range(6)]
    (tmp_path / "open.jsonl").write_text("\n".join(lines), encoding="utf-8")
    loopback.script("judge", [Reply(status=500), "[[C]]"])
    done = moa(*JUDGED, "--concurrency", "1", "--json")
    assert done.code == 0, done.err
    # Self-MoA gives the same answer as its model alone, and a failed call is not retried in the same run.
    assert "2 of 36 judgments failed: OpenAIAPIError" in json.loads(done.out)["notes"][1]
    loopback.reset()
    assert moa(*JUDGED).code == 0
    assert loopback.models == ["judge"]


def test_a_judge_that_only_fails_is_given_up(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    lines = [json.dumps({"instruction": f"Write poem {number}."}) for number in range(20)]
    (tmp_path / "open.jsonl").write_text("\n".join(lines), encoding="utf-8")
    loopback.script("judge", Reply(status=401))
    done = moa(*JUDGED, "--concurrency", "1")
    assert done.code == 1
    assert "the judge openai:judge failed 8 times in a row, and the run was given up" in done.err
    assert len(loopback.calls("judge")) == 8
    loopback.script("judge", "[[C]]")
    loopback.reset()
    assert moa(*JUDGED).code == 0
    # Calls that members have answered are not repeated; only Self-MoA had not started.
    assert set(loopback.models) == {"judge", "good"}
