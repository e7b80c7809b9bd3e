"""`eval compare` at the wire: what each variant asks, and that nothing is asked twice."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback import Reply
from tests.loopback.recorded import last_user_text
from tests.loopback.reply import Usage

if TYPE_CHECKING:
    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback
    from tests.loopback.reply import Body

_MIXTURE = """
proposers: [openai:good, openai:bad]
aggregator: openai:writer
num_layers: 2
"""

# Of one question: two proposers twice, the aggregator after each layer and alone, four samples of the best and their synthesis.
_CALLS = {"good": 2 + 4 + 1, "bad": 2, "writer": 3}


def _sum(body: Body) -> int:
    return sum(map(int, re.findall(r"\d+", last_user_text(body["messages"]))))


def _has_references(body: Body) -> bool:
    return "synthesize" in str(body["messages"])


@pytest.fixture(autouse=True)
def task(loopback: Loopback, tmp_path: Path) -> Path:
    """Three sums; one model adds right, one wrong, and the aggregator by itself wrong, too."""
    # What they say depends on what they read, or the aggregator would have the same to read after each layer.
    loopback.script("good", lambda body: f"{'So the' if _has_references(body) else 'The'} answer is {_sum(body)}.")
    loopback.script("bad", lambda body: f"The answer is {_sum(body) + 1}.")
    loopback.script("writer", lambda body: f"{_sum(body) + (not _has_references(body))}")
    (tmp_path / "moa.yaml").write_text(_MIXTURE, encoding="utf-8")
    path = tmp_path / "sums.jsonl"
    lines = [{"id": f"q{a}", "question": f"What is {a} + 2?", "answer": a + 2} for a in (3, 4, 5)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def _asked(loopback: Loopback) -> Counter[str]:
    return Counter(loopback.models)


def _whole(questions: int = 3) -> Counter[str]:
    return Counter({model: questions * calls for model, calls in _CALLS.items()})


def test_every_variant_is_asked_and_shared_calls_are_made_once(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    done = moa("eval", "compare", "--task", "sums.jsonl", "--json")
    assert done.code == 0, done.err
    assert _asked(loopback) == _whole()
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
    assert by_name["openai:bad alone"]["gain"] == 1.0
    assert found["all_wrong"] == 0
    assert [each["id"] for each in found["by_question"]] == ["q3", "q4", "q5"]
    folder = tmp_path / "moa-eval" / "sums"
    assert sorted(path.name for path in folder.iterdir()) == [
        "ledger.jsonl",
        "pareto.png",
        "report.html",
        "results.json",
        "table.md",
    ]
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What is 3 + 2?" in page
    assert 'src="data:image/png;base64,iVBOR' in page
    assert "about 36 calls" in done.err


def test_a_second_run_asks_nothing_and_more_questions_only_what_is_new(moa: Command, loopback: Loopback) -> None:
    first = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "2")
    assert _asked(loopback) == _whole(2)
    again = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "2")
    assert again.out == first.out
    assert _asked(loopback) == _whole(2)
    moa("eval", "compare", "--task", "sums.jsonl")
    assert _asked(loopback) == _whole(3)
    moa("eval", "compare", "--task", "sums.jsonl", "--epochs", "2")
    assert _asked(loopback) == _whole(6)


def test_a_changed_member_alone_is_asked_again(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--layers", "1")
    before = _asked(loopback)
    (tmp_path / "moa.yaml").write_text(_MIXTURE.replace("openai:bad", "openai:other"), encoding="utf-8")
    moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--layers", "1")
    new = _asked(loopback) - before
    # The mixture's aggregator has another text to read; who proposed before, and the samples of the best, have answered.
    assert new == {"other": 1, "writer": 1}


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_run_goes_on_with_what_is_missing(
    program: Program, loopback: Loopback, tmp_path: Path, by: signal.Signals
) -> None:
    answered = Counter[str]()

    def hanging(model: str, then: int) -> None:
        def answer(body: Body) -> Reply:
            if sum(answered.values()) >= then:
                return Reply(hang=True)
            answered[model] += 1
            return Reply(f"{'So the' if _has_references(body) else 'The'} answer is {_sum(body)}.")

        loopback.script(model, answer)

    # Of the second question the mixture has answered; what hangs is asked by itself.
    for model in _CALLS:
        hanging(model, 12)
    done = program.signalled("eval", "compare", "--task", "sums.jsonl", "--concurrency", "1", calls=13, by=by)
    assert done.code == (130 if by == signal.SIGINT else -by)
    ledger = tmp_path / "moa-eval" / "sums" / "ledger.jsonl"
    assert len(ledger.read_bytes().splitlines()) == 12
    if by == signal.SIGINT:
        assert "12 answers are kept in moa-eval/sums/; the same command goes on from there" in done.err
        return
    # What a killed process was about to write.
    with ledger.open("ab") as file:
        file.write(b'{"key": "half a li')
    for model in _CALLS:
        hanging(model, 1000)
    done = program("eval", "compare", "--task", "sums.jsonl")
    assert done.code == 0, done.err
    assert "12 of them answered before" in done.err
    # Where all are right the first proposer counts as the best, as before.
    assert answered == _whole()


def test_no_call_is_made_that_the_money_is_not_enough_for(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    mixture = "proposers: [openai:gpt-4.1-mini]\naggregator: openai:gpt-4.1-nano\nnum_layers: 1\nmax_tokens: 1000\n"
    (tmp_path / "moa.yaml").write_text(mixture, encoding="utf-8")
    # 1,000 tokens of gpt-4.1-mini's are $0.0016.
    loopback.script("*", Reply("5", usage=Usage(prompt=0, completion=1000)))
    done = moa("eval", "compare", "--task", "sums.jsonl", "--max-cost-usd", "0.005", "--concurrency", "1")
    assert done.code == 2
    assert "exceed max-cost-usd" in done.err
    assert "will not be enough" in done.err
    entries = (tmp_path / "moa-eval" / "sums" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    spent = sum(json.loads(line)["cost_usd"] for line in entries)
    assert 0.003 < spent <= 0.005
    assert len(entries) == len(loopback.requests)
    done = moa("eval", "compare", "--task", "sums.jsonl", "--max-cost-usd", "1")
    assert done.code == 0, done.err
    assert len(loopback.requests) == 3 * 5
    assert "$ per 1,000" in done.out


def test_an_estimate_asks_nothing(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    mixture = "proposers: [openai:gpt-4.1-mini]\naggregator: openai:gpt-4.1-nano\nnum_layers: 1\n"
    (tmp_path / "moa.yaml").write_text(mixture, encoding="utf-8")
    done = moa("eval", "compare", "--task", "sums.jsonl", "--estimate")
    assert done.code == 0
    assert re.search(r"3 questions, about 15 calls; about \$0\.0\d to pay", done.err)
    assert loopback.requests == []
    assert not (tmp_path / "moa-eval").exists()


def test_a_limit_that_cannot_be_kept_is_refused(moa: Command, loopback: Loopback) -> None:
    done = moa("eval", "compare", "--task", "sums.jsonl", "--max-cost-usd", "1")
    assert done.code == 2
    assert "the price of openai:bad, openai:good, openai:writer is not known" in done.err
    assert loopback.requests == []


def test_a_judge_sees_each_pair_in_both_orders(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text(_MIXTURE.replace("num_layers: 2", "num_layers: 1"), encoding="utf-8")
    loopback.script("writer", "MIXTURE")
    loopback.script("good", "GOOD")
    loopback.script("bad", "BAD")

    def judged(body: Body) -> str:
        text = last_user_text(body["messages"])
        a = re.search(r"<answer_A>\n(\w+)", text)
        assert a is not None
        # GOOD is preferred wherever it stands; otherwise what stands first.
        return "[[A]]" if a[1] == "GOOD" or "GOOD" not in text else "[[B]]"

    loopback.script("judge", judged)
    (tmp_path / "open.jsonl").write_text('{"instruction": "Write a poem."}\n', encoding="utf-8")
    done = moa("eval", "compare", "--task", "open.jsonl", "--scorer", "judge", "--judge", "openai:judge", "--json")
    assert done.code == 0, done.err
    scores = {each["name"]: each["score"] for each in json.loads(done.out)["figures"]}
    assert scores == {
        "the mixture": 0.5,
        "openai:good alone": 1.0,
        "openai:bad alone": 0.5,
        "openai:writer alone, the aggregator": 0.5,
        "openai:good x 2, Self-MoA": 1.0,
    }
    pairs = [tuple(re.findall(r"<answer_.>\n(\w+)", last_user_text(call.body["messages"]))) for call in loopback.calls("judge")]
    # Where the texts are the same nobody need be asked, nor a second time about the same pair.
    assert Counter(pairs) == {
        ("GOOD", "MIXTURE"): 1,
        ("MIXTURE", "GOOD"): 1,
        ("BAD", "MIXTURE"): 1,
        ("MIXTURE", "BAD"): 1,
    }
    before = len(loopback.requests)
    moa("eval", "compare", "--task", "open.jsonl", "--scorer", "judge", "--judge", "openai:judge")
    assert len(loopback.requests) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scorer", "judge"), "--scorer judge needs --judge MODEL"),
        (("--judge", "openai:judge"), "--judge is for --scorer judge"),
        (("--scorer", "judge", "--judge", "together:x"), "Set the environment variable TOGETHER_API_KEY"),
        (("--scorer", "bleu"), "unknown scorer 'bleu'; known are exact, numeric, math, judge"),
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


def test_a_failing_member_is_not_asked_again_by_another_variant(moa: Command, loopback: Loopback) -> None:
    loopback.script("bad", Reply(status=500))
    done = moa("eval", "compare", "--task", "sums.jsonl", "--limit", "1", "--json")
    assert done.code == 0, done.err
    by_name = {each["name"]: each for each in json.loads(done.out)["figures"]}
    assert by_name["openai:bad alone"]["failed"] == 1
    assert by_name["the mixture"]["failed"] == 0
    assert _asked(loopback)["bad"] == 2


def test_a_mixture_that_only_fails_is_given_up(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"{a} + 1?", "answer": a + 1}) for a in range(50)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for model in _CALLS:
        loopback.script(model, Reply(status=401))
    done = moa("eval", "compare", "--task", "many.jsonl", "--concurrency", "1")
    assert done.code == 2
    assert "the first 5 answers all failed" in done.err
    assert len(loopback.requests) < 20


def test_the_page_runs(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluating.md").read_text(encoding="utf-8")
    [questions] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "questions.jsonl").write_text(questions, encoding="utf-8")
    [scorer] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    functions: dict[str, Any] = {}
    exec(scorer, functions)  # noqa: S102  # our own page
    assert functions["score"]("A cat and a dog", {"keywords": ["cat", "cow"]}) == 0.5
    commands = [line.partition("#")[0].split() for line in re.findall(r"^langchain-moa (eval compare .*)$", page, re.MULTILINE)]
    assert len(commands) == 2
    (tmp_path / "moa.yaml").write_text("proposers: [openai:gpt-4.1-mini]\naggregator: openai:gpt-4.1\n", encoding="utf-8")
    loopback.script("*", "Canberra")
    estimated, done = [moa(*command) for command in commands]
    assert (estimated.code, done.code) == (0, 0), done.err
    head = "| | score | the mixture's gain | calls | seconds |"
    assert head in page
    assert head.replace("| |", "|  |") in done.out
    assert "The mixture and openai:gpt-4.1-mini differ by +0.0 points" in done.out
