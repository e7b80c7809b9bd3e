"""`eval generate`: answers in the formats of the official harnesses, with each call made once."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa.evaluation.questions import read_questions
from langchain_moa.evaluation.scorers import resolve_scorer
from tests.integration_tests.cli.answers import FLASK, MEMBERS, generate, read, write

if TYPE_CHECKING:
    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

PAGE = Path(__file__).parents[3] / "docs" / "reproduce.md"


def test_mt_bench_asks_two_turns_through_all_layers(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"question_id": 81, "category": "stem", "turns": ["First.", "Second."]}])
    loopback.script("last", [" one ", "two"])
    done = moa(*generate("mt_bench", "--name", "mine"))
    assert done.code == 0, done.err
    assert "1 question, 2 turns, 10 calls for FastChat; the journal is answers.journal" in done.err
    (row,) = read(tmp_path)
    assert row["model_id"] == "mine"
    assert row["choices"] == [{"index": 0, "turns": ["one", "two"]}]
    requests = loopback.requests
    assert sorted(loopback.models) == ["a"] * 4 + ["b"] * 4 + ["last"] * 2
    assert {(request.body["temperature"], request.body["max_completion_tokens"]) for request in requests} == {(0.1, 1024)}
    # In the second turn, the first layer sees the same of the first turn as the user.
    first, second = requests[5], requests[7]
    assert first.roles == ["user", "assistant", "user"]
    assert [message["content"] for message in first.messages] == ["First.", "one", "Second."]
    assert second.roles == ["system", "user", "assistant", "user"]
    assert "1. a says: Second.\n2. b says: Second." in second.system


def test_alpaca_eval_keeps_the_question_and_puts_its_own_answer(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"instruction": f"I {n}", "dataset": "d", "output": "old", "generator": "old"} for n in range(5)])
    done = moa(*generate("alpaca_eval", "--limit", "4", "--set", "num_layers=1"))
    assert done.code == 0, done.err
    assert done.out == "answers\n"
    expected = [{"instruction": f"I {n}", "dataset": "d", "output": f"last says: I {n}", "generator": "moa"} for n in range(4)]
    assert read(tmp_path) == expected
    assert {request.body["temperature"] for request in loopback.requests} == {0.7}


def test_own_settings_are_the_mixtures(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK[:1])
    done = moa(*generate("flask", "--own-settings", "--set", "max_tokens=99"))
    assert done.code == 0, done.err
    assert all("temperature" not in request.body for request in loopback.requests)
    assert {request.body["max_completion_tokens"] for request in loopback.requests} == {99}


def test_references_stand_in_for_the_proposers(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    # In another order, with one more than is asked.
    write(tmp_path, [{"question_id": n, "text": f"x to {n}"} for n in (4, 3, 2, 1)], "x.jsonl")
    write(tmp_path, [{"question_id": n, "text": f"y to {n}"} for n in (1, 2, 3)], "y.jsonl")
    given = ("--references", "x.jsonl", "--references", "y.jsonl")
    done = moa(*generate("flask", *given))
    assert done.code == 0, done.err
    assert "3 turns, 3 calls" in done.err
    assert set(loopback.models) == {"last"}
    systems = {request.user: request.system for request in loopback.requests}
    assert systems["Question 2"].endswith("Responses from models:\n1. x to 2\n2. y to 2")
    write(tmp_path, [{"question_id": 1, "text": "other"}], "x.jsonl")
    done = moa(*generate("flask", *given))
    assert done.code == 2
    assert "x.jsonl has no answer to the question of questions, line 2" in done.err


def test_references_of_a_second_turn_cannot_be_given(moa: Command, tmp_path: Path) -> None:
    write(tmp_path, [{"question_id": 81, "category": "stem", "turns": ["First.", "Second."]}])
    done = moa(*generate("mt_bench", "--references", "x.jsonl"))
    assert done.code == 2
    assert "mt_bench has several turns" in done.err


def test_one_member_answers_alone(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    done = moa(*generate("flask", "--alone", "aggregator"))
    assert done.code == 0, done.err
    assert "3 turns, 3 calls" in done.err
    assert {(request.model, tuple(request.roles)) for request in loopback.requests} == {("last", ("user",))}
    assert [row["text"] for row in read(tmp_path)] == [f"last says: Question {number}" for number in (1, 2, 3)]
    done = moa(*generate("flask", "--alone", "openai:c"))
    assert done.code == 2
    assert "--alone: 'openai:c' is not a member" in done.err
    done = moa(*generate("flask", "--alone", "1", "--references", "x.jsonl"))
    assert done.code == 2


def test_an_unknown_benchmark(moa: Command) -> None:
    done = moa(*generate("mtbench"))
    assert done.code == 2
    assert "--benchmark: 'mtbench' is unknown; choose one of alpaca_eval, mt_bench, arena_hard, flask" in done.err


def test_the_same_question_twice_is_asked_once(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    row = {"instruction": "Name a bird."}
    write(tmp_path, [row, row])
    assert moa(*generate("alpaca_eval", "--set", "num_layers=1")).code == 0
    assert sorted(loopback.models) == ["a", "b", "last"]
    assert len(read(tmp_path)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"idx": 1, "instruction": "x"}\n{"idx": 2}',
            "questions, line 2: the field 'instruction' is missing; there are 'idx'",
        ),
        (
            '{"idx": 1, "instruction": "x"}\n{"idx": 1, "instruction": "y"}',
            "questions, line 2: line 1 has the same id, 1, and asks something else",
        ),
        ("", "questions has no rows"),
    ],
)
def test_a_malformed_question_file(moa: Command, loopback: Loopback, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "questions").write_text(text)
    done = moa(*generate("flask"))
    assert done.code == 2
    assert said in done.err.replace("\n", " ")
    assert not loopback.requests


def test_quiet_says_nothing_but_the_file(moa: Command, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    done = moa(*generate("flask", "--quiet"))
    assert (done.code, done.out, done.err) == (0, "answers\n", "")


def test_the_style_metadata_of_arena_hard_is_kept(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"uid": f"0{n}", "prompt": f"Name bird {n}."} for n in range(2)])
    assert moa(*generate("arena_hard")).code == 0
    rows = read(tmp_path)
    # Added by the harness's own script.
    measured = [{**row, "metadata": {"token_len": 3}} for row in rows]
    write(tmp_path, measured, "answers")
    assert moa(*generate("arena_hard")).code == 0
    assert read(tmp_path) == measured
    # Another answer has another style.
    (tmp_path / "answers.journal").unlink()
    loopback.script("last", "A tit.")
    assert moa(*generate("arena_hard")).code == 0
    assert all("metadata" not in row for row in read(tmp_path))


def test_an_estimate_asks_nothing(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    done = moa(*generate("flask", "--estimate"))
    assert done.code == 0, done.err
    assert "3 questions, 3 turns, 15 calls for FLASK; the journal is answers.journal; no price is known" in done.err
    assert loopback.requests == []
    assert not (tmp_path / "answers").exists()


def test_a_terminal_shows_a_bar(program: Program, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    done = program.in_terminal(*generate("flask"))
    assert done.code == 0
    assert "3/3" in done.text
    assert "3 answers, 0 of them from the journal" in done.text


def test_every_command_of_the_page_runs(moa: Command, tmp_path: Path) -> None:
    commands = [
        [part for part in shlex.split(line, comments=True) if part != "langchain-moa"]
        for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
        if line.startswith("langchain-moa eval generate")
    ]
    assert len(commands) == 12
    questions: dict[str, dict[str, Any]] = {
        "alpaca_eval": {"instruction": "Name a bird.", "output": "A tit."},
        "mt_bench": {"question_id": 81, "category": "stem", "turns": ["First.", "Second."]},
        "arena_hard": {"uid": "0a", "prompt": "Name a bird."},
        "flask": {"idx": 1, "instruction": "Name a bird."},
    }
    answers = set()
    for command in commands:
        # The models exist only in the test; they have no price, so there can be no limit.
        for name in ("-c", "--preset", "--max-cost-usd"):
            if name in command:
                at = command.index(name)
                del command[at : at + 2]
        for name in ("--questions", "--references", "-o"):
            for at in [at for at, part in enumerate(command) if part == name]:
                file = tmp_path / command[at + 1]
                file.parent.mkdir(parents=True, exist_ok=True)
                if name == "-o":
                    answers.add(file)
                else:
                    file.write_text(json.dumps(questions[command[command.index("-b") + 1]]))
        done = moa(*command, *MEMBERS)
        assert done.code == 0, done.err
    assert len(answers) == 12
    assert all(file.is_file() for file in answers)


def test_the_questions_of_math_are_what_the_page_makes_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    solutions = [
        r"We have $x = \frac{3}{6}$, and so $\boxed{\frac{1}{2}}$ is the answer.",
        r"It costs $\boxed{\$32,\!348}$.",
        r"Thus $\boxed 2$.",
        r"First $\boxed{9}$ and then \fbox{$x^2+1$}.",
        r"So the interval is $\boxed{[-2,7]}$.",
    ]
    rows = [{"problem": f"What is $x_{number}$?", "solution": each} for number, each in enumerate(solutions)]
    rows.append(rows[0])
    asked = []

    def load_dataset(name: str, subject: str, *, split: str) -> list[dict[str, str]]:
        asked.append((name, subject, split))
        return rows if subject == "algebra" else []

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    [script] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(script, str(PAGE), "exec"), {})  # noqa: S102  # our own page
    assert len(asked) == 7
    assert {(name, split) for name, _, split in asked} == {("EleutherAI/hendrycks_math", "test")}
    (tmp_path / "math.jsonl").write_text(capsys.readouterr().out)
    questions = read_questions(tmp_path / "math.jsonl")
    assert [question.id for question in questions] == [f"algebra-{number}" for number in range(5)]
    assert questions[0].text == "What is $x_0$?\n\nPut the final answer in \\boxed{}."
    score = resolve_scorer("math", questions)
    said = [r"\boxed{0.5}", r"\boxed{\$32348}", r"\boxed{2}", r"\boxed{1 + x^2}", r"\boxed{[-2, 7]}"]
    assert [score(text, question) for text, question in zip(said, questions, strict=True)] == [1.0] * 5
    assert [score(r"\boxed{17}", question) for question in questions] == [0.0] * 5
