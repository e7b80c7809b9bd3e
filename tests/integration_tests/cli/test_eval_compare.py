"""`eval compare` at the wire: what each variant asks, and that no question is asked twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration_tests.cli import sums
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.integration_tests.cli.conftest import Command
    from tests.loopback import Loopback

PAGE = Path(__file__).parents[3] / "docs" / "evaluating.md"


@pytest.fixture(autouse=True)
def task(loopback: Loopback, tmp_path: Path) -> Path:
    return sums.lay_out(loopback, tmp_path)


def _asked(loopback: Loopback) -> Counter[str]:
    return Counter(loopback.models)


def test_a_single_model_is_not_compared_with_one_sample_of_itself(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text("proposers: [openai:good]\nnum_layers: 1\naggregation: vote\n", encoding="utf-8")
    done = moa("eval", "compare", "--task", "sums.jsonl", "--json")
    assert done.code == 0, done.err
    assert [each["name"] for each in json.loads(done.out)["figures"]] == ["the mixture", "openai:good alone"]
    assert _asked(loopback) == {"good": 3}
    assert "3 questions, about 3 calls" in done.err


def test_every_variant_is_asked_and_shared_calls_are_made_once(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    done = moa("eval", "compare", "--task", "sums.jsonl", "--json")
    assert done.code == 0, done.err
    assert _asked(loopback) == sums.whole()
    found = json.loads(done.out)
    by_name = {each["name"]: each for each in found["figures"]}
    assert {name: (each["score"], each["calls"]) for name, each in by_name.items()} == {
        "the mixture": (1.0, 5),
        "after layer 1": (1.0, 3),
        "openai:good alone": (1.0, 1),
        "openai:bad alone": (0.0, 1),
        "openai:writer alone, the aggregator": (0.0, 1),
        "openai:good x 4, Self-MoA": (1.0, 5),
    }
    gain = by_name["openai:bad alone"]["gain"]
    assert (gain["mean"], gain["differing"], gain["questions"]) == (1.0, 3, 3)
    assert found["all_wrong"] == 0
    assert [each["id"] for each in found["by_question"]] == ["q3", "q4", "q5"]
    answers = found["by_question"][0]["answers"]
    assert answers["openai:bad alone"] == {
        "score": 0.0,
        "epochs": [{**answers["openai:bad alone"]["epochs"][0], "text": "The answer is 6.", "error": None, "calls": 1}],
    }
    folder = tmp_path / "moa-eval" / "sums"
    assert sorted(path.name for path in folder.iterdir()) == [
        "calls.journal",
        "pareto.png",
        "report.html",
        "results.json",
        "table.md",
    ]
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What is 3 + 2?" in page
    assert 'src="data:image/png;base64,iVBOR' in page
    assert "3 questions, about 36 calls; no price is known" in done.err
    assert "18 of 18 answers" in done.err


def test_a_second_run_asks_nothing_and_more_questions_only_what_is_new(moa: Command, loopback: Loopback) -> None:
    first = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "2")
    assert _asked(loopback) == sums.whole(2)
    again = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "2")
    assert again.out == first.out
    assert _asked(loopback) == sums.whole(2)
    moa("eval", "compare", "--task", "sums.jsonl")
    assert _asked(loopback) == sums.whole(3)
    moa("eval", "compare", "--task", "sums.jsonl", "--epochs", "2")
    assert _asked(loopback) == sums.whole(6)


def test_a_changed_member_alone_is_asked_again(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--layers", "1")
    before = _asked(loopback)
    (tmp_path / "moa.yaml").write_text(sums.MIXTURE.replace("openai:bad", "openai:other"), encoding="utf-8")
    estimate = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--layers", "1", "--estimate")
    assert "about 7 calls, 5 of them answered before" in estimate.err
    moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--layers", "1")
    new = _asked(loopback) - before
    # The aggregator reads another text; the earlier proposers, and the samples of the best one, have answered.
    assert new == {"other": 1, "writer": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scorer", "judge"), "--scorer judge needs --judge 'provider:model'"),
        (("--judge", "openai:judge"), "--judge is for --scorer judge"),
        (("--scorer", "judge", "--judge", "together:x"), "Set the environment variable TOGETHER_API_KEY"),
        (("--scorer", "bleu"), "unknown scorer 'bleu'; choose one of: exact, numeric, math, judge"),
        (("--scorer", "mine.py:score"), "there is no file mine.py"),
        (("--answer-field", "solution"), "sums.jsonl, line 1: no answer"),
    ],
)
def test_wrong_usage_asks_nothing(moa: Command, loopback: Loopback, options: tuple[str, ...], said: str) -> None:
    done = moa("eval", "compare", "--task", "sums.jsonl", *options)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert loopback.requests == []


def test_a_scorer_of_ones_own(moa: Command, tmp_path: Path) -> None:
    code = "def score(answer, question):\n    return str(question['answer']) in answer and 0.5\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    done = moa("eval", "compare", "--task", "sums.jsonl", "--scorer", "mine.py:score", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["figures"][0]["score"] == 0.5


def test_an_estimate_asks_nothing_and_counts_what_is_known_by_what_is_asked(
    moa: Command, loopback: Loopback, tmp_path: Path
) -> None:
    (tmp_path / "moa.yaml").write_text(
        "proposers: [openai:gpt-4.1-mini, openai:gpt-4o-mini]\naggregator: openai:gpt-4.1-nano\nnum_layers: 1\n",
        encoding="utf-8",
    )
    estimate = ("eval", "compare", "--task", "sums.jsonl", "--estimate")
    done = moa(*estimate)
    assert done.code == 0
    assert re.search(r"3 questions, about 21 calls; about \$0\.0\d to pay", done.err)
    assert loopback.requests == []
    assert not (tmp_path / "moa-eval").exists()
    assert moa("eval", "compare", "--task", "sums.jsonl").code == 0
    assert "about 21 calls, 21 of them answered before; about $0.00 to pay" in moa(*estimate).err
    # Another prompt is another question for models that read references, and for no others.
    assert "21 calls, 15 of them answered before" in moa(*estimate, "--set", "prompt=Be very brief.").err
    # How many are asked, and how often, and what they are asked.
    assert "7 calls, 7 of them answered before" in moa(*estimate, "--limit", "1").err
    assert "42 calls, 21 of them answered before" in moa(*estimate, "--epochs", "2").err
    sums.write_sums(tmp_path, 4)
    assert "28 calls, 21 of them answered before" in moa(*estimate).err
    text = (tmp_path / "sums.jsonl").read_text()
    (tmp_path / "sums.jsonl").write_text(text.replace("3 + 2", "3 + 2 + 0"))
    assert "28 calls, 14 of them answered before" in moa(*estimate).err


def test_a_member_of_a_later_layer_is_asked_alone_too(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    mixture = "proposers: [[openai:good], [openai:good, openai:bad]]\naggregator: openai:writer\n"
    (tmp_path / "moa.yaml").write_text(mixture, encoding="utf-8")
    done = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--json")
    names = [each["name"] for each in json.loads(done.out)["figures"] if each["kind"] == "member"]
    assert names == ["openai:good alone", "openai:bad alone, of layer 2", "openai:writer alone, the aggregator"]


def test_members_of_a_later_layer_with_one_name_are_told_apart(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    later = "{model: openai:good, system_prompt: Be brief.}, {model: openai:good, system_prompt: Be careful.}"
    (tmp_path / "moa.yaml").write_text(f"proposers: [[openai:good], [{later}]]\naggregation: vote\n", encoding="utf-8")
    found = json.loads(moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--json").out)
    names = [each["name"] for each in found["figures"]]
    assert {"openai:good (1) alone, of layer 2", "openai:good (2) alone, of layer 2"} <= {*names}
    # Each variant has its answers.
    assert [*found["by_question"][0]["answers"]] == names


def test_a_failing_member_is_not_asked_again_by_another_variant_and_leaves_no_result(
    moa: Command, loopback: Loopback, tmp_path: Path
) -> None:
    loopback.script("bad", Reply(status=500))
    done = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--json")
    assert done.code == 1
    found = json.loads(done.out)
    by_name = {each["name"]: each for each in found["figures"]}
    assert by_name["openai:bad alone"]["failed"] == 1
    assert by_name["the mixture"]["failed"] == 0
    assert _asked(loopback)["bad"] == 2
    reason = "OpenAIAPIError: Error code: 500 - scripted error 500"
    assert f"openai:bad alone: 1 of 1 answer failed and counts as wrong: {reason}" in done.err
    assert "There is no result yet" in done.err
    [note] = [note for note in found["notes"] if note.startswith("The mixture")]
    assert f"is degraded by failed calls: layer 1, proposer 2 (openai:bad), {reason}" in note
    answers = found["by_question"][0]["answers"]
    assert answers["openai:bad alone"]["epochs"][0]["error"] == reason
    places = [call["place"] for call in answers["the mixture"]["epochs"][0]["failed"]]
    assert places == ["layer 1, proposer 2", "layer 2, proposer 2"]
    assert reason in (tmp_path / "moa-eval" / "sums" / "table.md").read_text()
    # Repaired, and only the missing calls are made.
    loopback.script("bad", "7")
    assert moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1").code == 0
    assert _asked(loopback)["good"] < 2 * sums.CALLS["good"]


@pytest.mark.parametrize("good", [0, 20])
def test_who_fails_over_and_over_is_given_up_also_after_a_success(
    moa: Command, loopback: Loopback, tmp_path: Path, good: int
) -> None:
    sums.write_sums(tmp_path, 50)
    (tmp_path / "moa.yaml").write_text("proposers: [openai:good, openai:bad]\naggregator: openai:writer\nnum_layers: 1\n")
    loopback.script("bad", [*["7"] * good, Reply(status=401)])
    done = moa("eval", "compare", "--task", "sums.jsonl", "--concurrency", "1")
    assert done.code == 1
    assert "openai:bad alone failed 8 times in a row, and the run was given up; the last: " in done.err
    assert "scripted error 401" in done.err
    assert "answers are kept in moa-eval/sums/calls.journal; run the same command to resume" in done.err
    assert len(loopback.calls("bad")) == good + 8


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(
    moa: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object, **__: object) -> bytes:
        msg = "no ink"
        raise ValueError(msg)

    monkeypatch.setattr("langchain_moa.evaluation.plots.draw_pareto", draw)
    done = moa("eval", "compare", "--task", "sums.jsonl")
    assert done.code == 1
    assert "no ink" in done.err
    folder = tmp_path / "moa-eval" / "sums"
    assert json.loads((folder / "results.json").read_text())["figures"]
    assert "| the mixture |" in (folder / "table.md").read_text()


def test_an_estimate_needs_no_key(moa: Command, loopback: Loopback) -> None:
    given = ("-p", "together:zai-org/GLM-5.3", "-a", "together:zai-org/GLM-5.3", "--scorer", "judge", "--judge", "together:x")
    done = moa("eval", "compare", "--task", "sums.jsonl", "--estimate", *given)
    assert done.code == 0, done.err
    assert "3 questions, about " in done.err
    assert moa("eval", "compare", "--task", "sums.jsonl", *given).code == 2
    assert loopback.requests == []


def test_a_task_may_be_called_anything(moa: Command, tmp_path: Path) -> None:
    (tmp_path / r"a$\frac{$.jsonl").write_text('{"question": "1 + 1?", "answer": 2}')
    done = moa("eval", "compare", "--task", r"a$\frac{$.jsonl")
    assert done.code == 0, done.err
    assert (tmp_path / "moa-eval" / r"a$\frac{$" / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("says", "right"),
    [
        (("It takes 85 minutes.", "The capital of Australia is Canberra."), True),
        (("So it is 85.", "It's **Canberra**!"), True),
        (("It takes 95 minutes.", "The capital of Australia is Sydney."), False),
    ],
)
def test_the_page_runs_with_models_that_answer_in_sentences(
    moa: Command, loopback: Loopback, tmp_path: Path, *, says: tuple[str, str], right: bool
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    questions, *_ = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "questions.jsonl").write_text(questions, encoding="utf-8")
    [scorer] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    functions: dict[str, Any] = {}
    exec(scorer, functions)  # noqa: S102  # our own page
    assert functions["score"]("A cat and a dog", {"keywords": ["cat", "cow"]}) == 0.5
    commands = [line.partition("#")[0].split() for line in re.findall(r"^langchain-moa (eval compare .*)$", page, re.MULTILINE)]
    assert len(commands) == 2
    (tmp_path / "moa.yaml").write_text("proposers: [openai:gpt-4.1-mini]\naggregator: openai:gpt-4.1\n", encoding="utf-8")
    loopback.script("*", lambda body: says["Australia" in str(body["messages"])])
    estimated, done = [moa(*command) for command in commands]
    assert (estimated.code, done.code) == (0, 0), done.err
    head = "| | score | the mixture's gain | calls | seconds |"
    assert head in page
    assert head.replace("| |", "|  |") in done.out
    score = "100.0 (100.0 to 100.0)" if right else "0.0 (0.0 to 0.0)"
    assert f"| the mixture | {score} |" in done.out
    same = "The mixture and its best member, openai:gpt-4.1-mini, score the same on 2 questions."
    assert (same if right else "Every variant scores 0 on every question. Check the scorer") in done.out
