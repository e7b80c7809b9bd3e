"""How runs of `eval compare` end early and continue: signals, the limit in dollars, two runs at once."""

from __future__ import annotations

import re
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.full_disk import full_at
from tests.integration_tests.cli import sums
from tests.integration_tests.cli.program import until_signal_is_heard
from tests.loopback import Reply
from tests.loopback.reply import Usage
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration_tests.cli.conftest import Command
    from tests.integration_tests.cli.program import Program
    from tests.loopback import Loopback
    from tests.loopback.reply import Body

COMPARE = ("eval", "compare", "--task", "sums.jsonl")


@pytest.fixture(autouse=True)
def _task(loopback: Loopback, tmp_path: Path) -> None:
    sums.lay_out(loopback, tmp_path)


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_waits_for_the_calls_under_way(
    program: Program, loopback: Loopback, tmp_path: Path, by: signal.Signals, code: int
) -> None:
    gate = loopback.gate()
    answers = iter(range(100))

    def answer(body: Body) -> Reply:
        so = "So it" if sums.has_references(body) else "It"
        return Reply(f"{so} is {sums.right(body)}", gate=gate if next(answers) >= 4 else None)

    for model in sums.CALLS:
        loopback.script(model, answer)
    with program.begun(*COMPARE, "--concurrency", "2", calls=6) as process:
        process.send_signal(by)
        told = until_signal_is_heard(process)
        gate.open()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    # All requests were answered, and all answers are kept.
    assert len(loopback.requests) == len(sums.journal(tmp_path)) < sum(sums.whole().values())
    assert "ending when the calls under way have answered; once more ends at once" in told
    assert f"{len(loopback.requests)} answers are kept in moa-eval/sums/calls.journal; run the same command" in err
    done = program(*COMPARE)
    assert done.code == 0, done.err
    assert Counter(loopback.models) == sums.whole()


def test_the_second_signal_ends_it_at_once(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    sums.hang_after(loopback, 12)
    with program.begun(*COMPARE, "--concurrency", "1", calls=13) as process:
        process.send_signal(signal.SIGINT)
        until_signal_is_heard(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert len(sums.journal(tmp_path)) == 12
    assert "12 answers are kept in moa-eval/sums/calls.journal" in err


def test_a_killed_run_goes_on_with_what_is_missing(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    # The mixture has answered the second question; the hanging call is one of a single model.
    answered = sums.hang_after(loopback, 12)
    done = program.signalled(*COMPARE, "--concurrency", "1", calls=13, by=signal.SIGKILL)
    assert done.code == -signal.SIGKILL
    assert len(sums.journal(tmp_path)) == 12
    more = sums.hang_after(loopback, 1000)
    done = program(*COMPARE)
    assert done.code == 0, done.err
    assert "12 of them answered before" in done.err
    # If all are right, the first proposer still counts as the best.
    assert answered + more == sums.whole()


def test_two_runs_on_one_folder_do_not_pay_for_the_same(program: Program, loopback: Loopback, tmp_path: Path) -> None:
    gate = loopback.gate()
    for model in sums.CALLS:
        loopback.script(model, lambda body: Reply(f"It is {sums.right(body)}", gate=gate))
    with program.begun(*COMPARE, calls=1) as first:
        second = program(*COMPARE)
        gate.open()
        first.communicate(timeout=PATIENCE)
    assert second.code == 2
    assert "moa-eval/sums/calls.journal is in use by another run; wait for its end, or give another --output" in second.err
    assert first.returncode == 0
    assert len(loopback.requests) == len(sums.journal(tmp_path))


def _priced(loopback: Loopback, tmp_path: Path, tokens: int) -> None:
    (tmp_path / "moa.yaml").write_text(f"{sums.PRICED}max_tokens: 1000\n", encoding="utf-8")
    # 1,000 tokens of gpt-4.1-mini's are $0.0016.
    loopback.script("*", Reply("5", usage=Usage(prompt=0, completion=tokens)))


def _spent(tmp_path: Path) -> float:
    return float(sum(entry["cost_usd"] for entry in sums.journal(tmp_path)))


def test_no_call_is_made_that_the_money_is_not_enough_for(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    _priced(loopback, tmp_path, 1000)
    done = moa(*COMPARE, "--max-cost-usd", "0.005", "--concurrency", "1")
    assert done.code == 1
    assert "--max-cost-usd 0.005: $0.00" in done.err
    assert "$0.005 will not be enough" in done.err
    assert 0.003 < _spent(tmp_path) <= 0.005
    assert len(sums.journal(tmp_path)) == len(loopback.requests)
    # All costs of the folder count, however often a run is started.
    before = len(loopback.requests)
    for _ in range(3):
        assert moa(*COMPARE, "--max-cost-usd", "0.005", "--concurrency", "1").code == 1
    assert _spent(tmp_path) <= 0.005
    assert len(loopback.requests) <= before + 1
    done = moa(*COMPARE, "--max-cost-usd", "1")
    assert done.code == 0, done.err
    assert len(loopback.requests) == 3 * 7
    assert "$ per 1,000" in done.out


def test_reservations_make_calls_wait_and_end_nothing(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    # Eight concurrent questions reserve far more than the budget, and cost a hundredth of it.
    _priced(loopback, tmp_path, 10)
    done = moa(*COMPARE, "--max-cost-usd", "0.002", "--concurrency", "8")
    assert done.code == 0, done.err
    assert len(loopback.requests) == 3 * 7


def test_the_first_answer_of_a_model_tells_how_long_the_others_will_be(
    moa: Command, loopback: Loopback, tmp_path: Path
) -> None:
    sums.write_sums(tmp_path, 20)
    config = "proposers: [openai:gpt-4.1-mini]\naggregator: openai:gpt-4.1-nano\nnum_layers: 1\n"
    (tmp_path / "moa.yaml").write_text(config, encoding="utf-8")
    loopback.script("*", Reply("5", usage=Usage(prompt=0, completion=10_000)))
    done = moa(*COMPARE, "--max-cost-usd", "0.05", "--concurrency", "16")
    assert done.code == 1
    # $0.016 each of one model, $0.004 of the other: not one for each question. Too much is the first of the other at most.
    assert 0.03 < _spent(tmp_path) <= 0.05 + 0.004


def test_a_limit_that_cannot_be_kept_is_refused(moa: Command, loopback: Loopback) -> None:
    done = moa(*COMPARE, "--max-cost-usd", "1")
    assert done.code == 2
    said = "--max-cost-usd cannot be kept: the prices of openai:bad, openai:good, openai:writer are not known"
    assert said in " ".join(done.err.split())
    assert Counter(loopback.models) == {}


def test_a_full_disk_stops_the_spending_and_nothing_is_paid_twice(moa: Command, loopback: Loopback, tmp_path: Path) -> None:
    with full_at(60_000):
        done = moa(*COMPARE, "--concurrency", "2")
    assert done.code == 1
    assert re.search(r"moa-eval/sums/calls\.journal cannot be written \(.*\): no further call is made", done.err)
    # Each of the two running questions has one open call of each proposer, and no other.
    asked, kept = len(loopback.requests), len(sums.journal(tmp_path))
    assert kept < asked <= kept + 4
    assert f"{asked - kept} answer" in done.err
    assert "could not be written to moa-eval/sums/calls.journal and will be lost; free some space" in done.err
    assert f"{kept} answers are kept" in done.err
    assert "failed" not in done.err
    # Only lost calls are made again.
    assert moa(*COMPARE).code == 0
    assert len(loopback.requests) == sum(sums.whole().values()) + asked - kept
