"""`eval generate`: answers in the forms of the official harnesses, each call made once."""

from __future__ import annotations

import json
import re
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback import Reply, Usage

if TYPE_CHECKING:
    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback

PAGE = Path(__file__).parents[3] / "docs" / "reproduce.md"
MEMBERS = ("-p", "openai:a", "-p", "openai:b", "-a", "openai:last")
FLASK = [{"idx": number, "instruction": f"Question {number}"} for number in (1, 2, 3)]


def generate(benchmark: str, *more: str, members: tuple[str, ...] = MEMBERS) -> tuple[str, ...]:
    return ("eval", "generate", "-b", benchmark, "--questions", "questions", "-o", "answers", *members, *more)


def write(folder: Path, rows: list[dict[str, Any]], name: str = "questions") -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "answers").read_text()
    rows: list[dict[str, Any]] = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return rows


def test_mt_bench_asks_two_turns_through_all_layers(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"question_id": 81, "category": "stem", "turns": ["First.", "Second."]}])
    loopback.script("last", [" one ", "two"])
    done = moa(*generate("mt_bench", "--name", "mine"))
    assert done.code == 0, done.err
    assert "1 questions, 2 turns, 10 calls for FastChat" in done.err
    (row,) = read(tmp_path)
    assert row["model_id"] == "mine"
    assert row["choices"] == [{"index": 0, "turns": ["one", "two"]}]
    requests = loopback.requests
    assert sorted(loopback.models) == ["a"] * 4 + ["b"] * 4 + ["last"] * 2
    assert {(request.body["temperature"], request.body["max_completion_tokens"]) for request in requests} == {(0.1, 1024)}
    # The first layer of the second turn sees of the first one what the user has seen.
    first, second = requests[5], requests[7]
    assert first.roles == ["user", "assistant", "user"]
    assert [message["content"] for message in first.messages] == ["First.", " one ", "Second."]
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


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on_and_pays_nothing_twice(
    program: Program, loopback: Loopback, tmp_path: Path, by: signal.Signals
) -> None:
    write(tmp_path, FLASK)
    loopback.script("last", ["one", Reply(hang=True)])
    arguments = generate("flask", "--concurrency", "1", "--set", "num_layers=1")
    assert program.signalled(*arguments, calls=6, by=by).code == (-9 if by == signal.SIGKILL else 130)
    assert not (tmp_path / "answers").exists()
    assert loopback.models.count("a") == 2
    loopback.reset()
    loopback.script("last", ["two", "three"])
    done = program(*arguments)
    assert done.code == 0, done.err
    assert "3 answers, 1 of them from the journal" in done.err
    assert [row["text"] for row in read(tmp_path)] == ["one", "two", "three"]
    # The second question's proposers had answered; only the third one's are asked.
    assert loopback.models.count("a") == loopback.models.count("b") == 1
    assert "Question 2" in loopback.calls("last")[0].user
    assert "1. a says: Question 2" in loopback.calls("last")[0].system


def test_what_failed_is_told_and_asked_again(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    arguments = generate("flask", "--concurrency", "1", "--set", "num_layers=1", "--set", "min_references=2")
    loopback.script("b", [Reply(status=500), "b", "b"])
    loopback.script("last", [Reply(status=500), "three"])
    done = moa(*arguments)
    assert done.code == 1
    assert "no answer to the question of questions, line 1" in done.err
    assert "no answer to the question of questions, line 2" in done.err
    assert "answers lacks 2 of 3 answers" in done.err
    assert [row["question_id"] for row in read(tmp_path)] == [3]
    loopback.reset()
    loopback.script("last", "later")
    done = moa(*arguments)
    assert done.code == 0, done.err
    assert [row["text"] for row in read(tmp_path)] == ["later", "later", "three"]
    # The first question's layer was too small, and is asked anew; the second one lacked its aggregator alone.
    assert sorted(loopback.models) == ["a", "b", "last", "last"]
    loopback.reset()
    assert moa(*arguments).code == 0
    assert not loopback.requests


def test_it_gives_up_where_nothing_works(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, [{"idx": number, "instruction": f"Question {number}"} for number in range(50)])
    loopback.script("*", Reply(status=401))
    done = moa(*generate("flask", "--concurrency", "2"))
    assert done.code == 1
    assert "too many questions have failed one after the other" in done.err
    assert len(loopback.calls("a")) < 12


def test_a_limit_in_dollars_begins_no_further_question(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    # A million tokens of gpt-4.1-nano are 10 cents, so that each question costs 30.
    loopback.script("*", Reply("x", usage=Usage(prompt=1_000_000, completion=0)))
    members = ("-p", "openai:gpt-4.1-nano", "-p", "openai:gpt-4.1-nano", "-a", "openai:gpt-4.1-nano", "--set", "num_layers=1")
    done = moa(*generate("flask", "--max-cost-usd", "0.5", "--concurrency", "1", members=members))
    assert done.code == 1
    assert "--max-cost-usd: 0.6000 dollars are spent" in done.err
    assert len(read(tmp_path)) == 2
    # What has been spent is spent.
    assert moa(*generate("flask", "--max-cost-usd", "0.6", "--concurrency", "1", members=members)).code == 1
    assert len(loopback.requests) == 6
    assert moa(*generate("flask", "--max-cost-usd", "0.61", members=members)).code == 0
    assert len(loopback.requests) == 9


def test_a_limit_in_dollars_needs_prices(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    done = moa(*generate("flask", "--max-cost-usd", "1"))
    assert done.code == 2
    assert "there is none for openai:a, openai:b, openai:last" in done.err
    assert not loopback.requests


def test_references_stand_in_for_the_proposers(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    # In another order, and one more than is asked.
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


def test_a_journal_serves_one_mixture(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    write(tmp_path, FLASK)
    assert moa(*generate("flask")).code == 0
    asked = len(loopback.requests)
    done = moa(*generate("flask", "--set", "max_reference_tokens=99"))
    assert done.code == 2
    assert "answers.journal was begun with another mixture; go on with the same" in done.err
    # What says how it is run, and not what, may change; and so may the questions.
    write(tmp_path, [*FLASK, {"idx": 4, "instruction": "Question 4"}])
    assert moa(*generate("flask", "--set", "max_concurrency=2", "--concurrency", "3")).code == 0
    assert len(loopback.requests) == asked + 5
    (tmp_path / "answers.journal").write_text("something else, long enough to be no database")
    done = moa(*generate("flask"))
    assert done.code == 2
    assert "is no journal" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"idx": 1, "instruction": "x"}\n{"idx": 2}',
            "questions, line 2: the field 'instruction' is missing; there are 'idx'",
        ),
        ("", "questions holds no rows"),
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
    assert len(commands) == 8
    questions: dict[str, dict[str, Any]] = {
        "alpaca_eval": {"instruction": "Name a bird.", "output": "A tit."},
        "mt_bench": {"question_id": 81, "category": "stem", "turns": ["First.", "Second."]},
        "arena_hard": {"uid": "0a", "prompt": "Name a bird."},
        "flask": {"idx": 1, "instruction": "Name a bird."},
    }
    answers = set()
    for command in commands:
        # The models are the test's; and they have no price, so that there can be no limit.
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
    assert len(answers) == 8
    assert all(file.is_file() for file in answers)
