"""`tune`: from recorded or new answers to a mixture."""

from __future__ import annotations

import json
import random
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.loopback import Reply
from tests.loopback.recorded import last_user_text
from tests.loopback.reply import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.loopback import Loopback
    from tests.loopback.reply import Body

MODELS = {"a": 0.7, "b": 0.7, "c": 0.7}


def _said(model: str, number: int) -> str:
    draw = random.Random(f"{model} {number}")  # noqa: S311  # a sample, not a secret
    return f"The answer is {number + 1 if draw.random() < MODELS[model] else number + 1 + 10 ** (1 + ord(model) - ord('a'))}."


def _questions(folder: Path, count: int = 60, *, recorded: bool = True) -> Path:
    path = folder / "answers.jsonl"
    rows: list[dict[str, Any]] = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(count)]
    if recorded:
        rows = [{**row, "recorded": {model: _said(model, n) for model in MODELS}} for n, row in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_recorded_answers_become_a_mixture_that_answers(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _questions(tmp_path)
    done = moa("tune", "--recorded", "answers.jsonl", "--output", "tuned")
    assert done.code == 0, done.err
    assert done.out.startswith("Use the majority of ")
    assert "answers are read as: number, guessed from the right answers" in done.err
    assert loopback.requests == []
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == ["moa.yaml", "report.html", "results.json"]
    text = (tmp_path / "tuned" / "moa.yaml").read_text()
    fields = yaml.safe_load(text)
    flat = [each for layer in fields["proposers"] for each in layer]
    assert [len(layer) for layer in fields["proposers"]] == [2, 1]
    assert sorted(flat) == [f"replay:answers.jsonl#{model}" for model in MODELS]
    vote = fields["aggregation"]["vote"]
    assert (vote["extract"], vote["over"]) == ("number", "all")
    assert fields["prompt"] == "blind"
    assert fields["stop_when"] == {"agreement": {"threshold": 1, "extract": "number"}}
    # The file's answers are the replayed ones, question by question.
    first = vote.get("trust", flat)[0].rpartition("#")[2]
    for number in range(5):
        asked = moa("ask", "--config", "tuned/moa.yaml", f"What is {number} + 1?", "--quiet")
        assert asked.code == 0, asked.err
        numbers = [re.findall(r"\d+", _said(model, number))[0] for model in MODELS]
        majority = max(numbers, key=lambda each: (numbers.count(each), each == re.findall(r"\d+", _said(first, number))[0]))
        assert asked.out.strip() == f"The answer is {majority}."
    results = json.loads((tmp_path / "tuned" / "results.json").read_text())
    assert results["promise"]["gain"] > 0
    assert results["config"] == fields
    page = (tmp_path / "tuned" / "report.html").read_text()
    assert "default-src &#39;none&#39;" in page
    assert page.count("<script") == 1
    again = moa("tune", "--recorded", "answers.jsonl", "--output", "again")
    assert again.out == done.out
    assert json.loads((tmp_path / "again" / "results.json").read_text()) == results


def _answering(model: str) -> Any:
    def answer(body: Body) -> Reply:
        number = int(re.findall(r"\d+", last_user_text(body["messages"]))[0])
        return Reply(_said(model, number), usage=Usage(prompt=10, completion=10))

    return answer


def test_candidates_are_asked_once_and_never_again(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _questions(tmp_path, recorded=False)
    for model in MODELS:
        loopback.script(model, _answering(model))
    given = ("tune", "--task", "answers.jsonl", "--output", "tuned", *(f"--candidate=openai:{model}" for model in MODELS))
    done = moa(*given)
    assert done.code == 0, done.err
    assert len(loopback.requests) == 3 * 60
    assert "60 questions, at most 180 calls" in done.err
    fields = yaml.safe_load((tmp_path / "tuned" / "moa.yaml").read_text())
    assert sorted(each for layer in fields["proposers"] for each in layer) == ["openai:a", "openai:b", "openai:c"]
    printed = " ".join(done.err.split())
    words, _, estimate = printed[printed.index("langchain-moa eval compare ") :].partition(" # ")
    assert estimate == "about 480 calls for 60 questions, whose price is not known"
    compared = moa(*shlex.split(words)[1:])
    assert compared.code == 0, compared.err
    assert "60 questions, about 480 calls" in compared.err
    assert moa(*given).out == done.out
    assert len(loopback.requests) == 3 * 60


def test_failures_are_said_and_no_choice_is_made_by_them(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _questions(tmp_path, 20, recorded=False)
    for model in MODELS:
        loopback.script(model, _answering(model))

    def failing(body: Body) -> Reply:
        number = int(re.findall(r"\d+", last_user_text(body["messages"]))[0])
        return Reply("no such voice", status=400) if number % 5 == 0 else Reply(_said("c", number))

    loopback.script("c", failing)
    given = ("tune", "--task", "answers.jsonl", "--output", "tuned", *(f"--candidate=openai:{model}" for model in MODELS))
    done = moa(*given)
    assert done.code == 1
    said = " ".join(done.err.split())
    assert "openai:c: 4 of 20 answers failed and count as wrong: " in said
    assert "no such voice" in said
    assert "too many answers failed for a choice: fix what failed" in said
    assert "or leave out openai:c" in said
    assert not (tmp_path / "tuned" / "moa.yaml").exists()
    loopback.script("c", _answering("c"))
    assert moa(*given).code == 0
    assert len(loopback.calls("c")) == 24


def test_weak_candidates_are_not_asked_to_the_end(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _questions(tmp_path, 100, recorded=False)
    for model in MODELS:
        loopback.script(model, _answering(model))
    for weak in ("weak", "weaker"):
        loopback.script(weak, "The answer is 4711.")
    names = [*MODELS, "weak", "weaker"]
    done = moa("tune", "--task", "answers.jsonl", "--output", "tuned", *(f"--candidate=openai:{name}" for name in names))
    assert done.code == 0, done.err
    assert len(loopback.calls("a")) == 100
    assert len(loopback.calls("weak")) == len(loopback.calls("weaker")) == 25
    assert re.search(r"openai:weak was dropped: \d+\.\d points behind openai:[abc] after 25 questions", done.err)


def test_recorded_models_with_a_provider_are_named_and_priced(moa: Command, tmp_path: Path) -> None:
    path = _questions(tmp_path)
    path.write_text(path.read_text().replace('"a":', '"openai:gpt-4o":').replace('"b":', '"openai:gpt-4o-mini":'))
    done = moa(
        "tune",
        "--recorded",
        "answers.jsonl",
        "--output",
        "tuned",
        "--candidate=openai:gpt-4o-mini",
        "--candidate=openai:gpt-4o",
    )
    assert done.code == 0, done.err
    printed = " ".join(done.err.split())
    assert "eval compare -p openai:gpt-4o" in printed
    assert re.search(r"# about \d+ calls for 60 questions, \$\d+\.\d\d", printed)
    done = moa("tune", "--recorded", "answers.jsonl", "--output", "tuned", "--candidate=openai:gpt-4o-mini", "--candidate=c")
    assert "with models that can be asked in place of the recorded ones" in " ".join(done.err.split())


def test_recorded_answers_are_scored_by_a_scorer_of_ones_own(moa: Command, tmp_path: Path) -> None:
    _questions(tmp_path)
    (tmp_path / "mine.py").write_text("def score(answer, question):\n    return str(question['answer']) in answer\n")
    done = moa("tune", "--recorded", "answers.jsonl", "--output", "tuned", "--scorer", "mine.py:score", "--limit", "40")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "tuned" / "results.json").read_text())["questions"] == 40


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --task FILE with questions and right answers, or --recorded FILE"),
        (("--recorded", "none.jsonl"), "none.jsonl cannot be read"),
        (("--recorded", "answers.jsonl", "--candidate", "d"), "has no answers of it; it has a, b, c"),
        (("--recorded", "answers.jsonl", "--candidate", "a"), "only one candidate, a; give two or more"),
        (("--recorded", "answers.jsonl", "--limit", "10"), "too few questions (10)"),
        (("--recorded", "answers.jsonl", "--objective", "price"), "--objective price needs --tolerance"),
        (("--recorded", "answers.jsonl", "--objective", "price", "--tolerance", "1"), "needs the prices of a, b, c"),
        (("--recorded", "answers.jsonl", "--tolerance", "1"), "--tolerance is for --objective price"),
        (("--task", "answers.jsonl", "--candidate", "openai:a"), "give two or more candidates"),
        (
            ("--task", "other.jsonl", "--recorded", "answers.jsonl"),
            "has no answer to any of the questions in exactly the same words",
        ),
        (
            ("--task", "answers.jsonl", "-c", "openai:a"),
            "--config: there is no file 'openai:a' with a list of candidates; name one model with --candidate",
        ),
        (("--task", "answers.jsonl", "--config", "list.yaml"), "list.yaml must have a list of `candidates`"),
        (("--task", "answers.jsonl", "--config", "key.yaml"), "key.yaml has 'api_key'; keys do not belong in files"),
    ],
)
def test_bad_input_says_what_would_do(
    moa: Command, loopback: Loopback, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    _questions(tmp_path)
    (tmp_path / "other.jsonl").write_text('{"question": "Why?", "answer": 1}')
    (tmp_path / "list.yaml").write_text("candidates: openai:a")
    (tmp_path / "key.yaml").write_text("candidates: [{model: openai:a, settings: {api_key: some-key}}, openai:b]")
    done = moa("tune", "--output", "tuned", *options)
    assert done.code == 2
    assert "some-key" not in done.err
    assert said in " ".join(done.err.split())
    assert not (tmp_path / "tuned").exists()
    assert loopback.requests == []


def test_candidates_of_a_file_keep_their_settings(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _questions(tmp_path, recorded=False)
    for model in MODELS:
        loopback.script(model, _answering(model))
    listed = [{"model": f"openai:{model}", "settings": {"temperature": 0.5}} for model in MODELS]
    (tmp_path / "list.yaml").write_text(yaml.safe_dump({"candidates": listed}))
    done = moa("tune", "--task", "answers.jsonl", "--config", "list.yaml", "--output", "tuned", "--samples", "2")
    assert done.code == 0, done.err
    assert {request.body["temperature"] for request in loopback.requests} == {0.5}
    assert len(loopback.requests) == 2 * 3 * 60
    fields = yaml.safe_load((tmp_path / "tuned" / "moa.yaml").read_text())
    assert all(proposer in listed for layer in fields["proposers"] for proposer in layer)
