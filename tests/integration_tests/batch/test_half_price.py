"""`half_price`: the calls of all rows go into few jobs, and each answer is used once even if jobs or processes fail."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import SecretStr

from langchain_moa import BatchAnswer, Mixture, Proposer
from langchain_moa.batch import settings
from langchain_moa.batch.run import BatchRun
from tests.integration_tests.batch.asking import (
    NANO,
    answers_of,
    asked_of,
    chat_of,
    claude_of,
    mixture_of,
    some_rows,
    together_of,
)
from tests.integration_tests.batch.job_server import JobServer, says
from tests.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration_tests.batch.job_server import Body

_ROOT = Path(__file__).parents[3]


def test_two_layers_and_an_aggregator_are_three_jobs(server: JobServer, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    answers, _ = answers_of(
        mixture_of(server, proposer_timeout=0.001, deadline=0.001), some_rows(40), output=out, references=True
    )
    assert {answer.answer for answer in answers} == {f"{NANO} says: question {number}." for number in range(40)}
    assert [len(job.lines) for job in server.jobs] == [80, 80, 40]
    assert server.direct == []
    assert all(answer.degraded == () for answer in answers)
    # Five calls with a million tokens each, at half of ten cents.
    assert [answer.cost_usd for answer in answers] == [pytest.approx(5 * 0.05)] * 40
    # The second layer has read the first one's answers.
    for _, body in server.jobs[1].lines:
        question = body["messages"][-1]["content"]
        assert f"1. {NANO} says: {question}\n2. {NANO} says: {question}" in body["messages"][0]["content"]
    assert set(asked_of(server).values()) == {1}


def test_rounds_keep_the_number_of_rows_under_way(server: JobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ROUND", 10)
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(25))
    assert len(answers) == 25
    assert [len(job.lines) for job in server.jobs] == [20, 10, 20, 10, 10, 5]


def test_lines_that_fail_in_passing_are_in_the_next_job(server: JobServer) -> None:
    chance = random.Random(1)  # noqa: S311  # which lines fail

    def sometimes(body: Body) -> tuple[int, str]:
        return (500, "try again") if chance.random() < 0.02 else says(body)

    server.answer = sometimes
    answers, _ = answers_of(mixture_of(server, num_layers=3), some_rows(80))
    assert len(answers) == 80
    assert {answer.error for answer in answers} == {None}
    assert {answer.degraded for answer in answers} == {()}
    assert len(server.jobs) <= 4 * 3
    assert max(asked_of(server).values()) <= 3


def test_lines_that_fail_for_good_fail_as_a_call_does(server: JobServer) -> None:
    server.answer = lambda body: (400, "too long") if "question 1." in str(body["messages"]) else says(body)
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(3))
    by_id = {answer.id: answer for answer in answers}
    assert "Error code: 400" in str(by_id["r1"].error)
    assert "too long" in str(by_id["r1"].error)
    assert [by_id[row].error for row in ("r0", "r2")] == [None, None]
    assert len(server.jobs) == 2


def test_what_an_expired_job_has_answered_is_used_and_the_rest_is_sent_again(server: JobServer) -> None:
    server.endings = ["expired"]
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(10))
    assert [answer.error for answer in answers] == [None] * 10
    assert sum(asked_of(server).values()) == 10 * 3 + 10


def test_a_cancelled_job_is_not_sent_again(server: JobServer) -> None:
    server.endings = ["cancelled"]
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(10))
    lacking = [answer.error or "; ".join(answer.degraded) for answer in answers]
    assert sum(said.count("the job job_0 was cancelled") for said in lacking if said) >= 5
    assert all("the job job_0 was cancelled" in said for said in lacking if said)
    assert sum(asked_of(server).values()) == 20 + sum(answer.error is None for answer in answers)


def test_a_job_that_the_provider_refuses_says_why(server: JobServer) -> None:
    server.endings = ["failed"]
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(2))
    assert all("the job job_0 failed: there is no such model" in str(answer.error) for answer in answers)


def test_a_job_that_the_provider_refuses_in_passing_is_submitted_again(server: JobServer) -> None:
    server.refusals = [429, 503]
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(3))
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 3
    assert [len(job.lines) for job in server.jobs] == [6, 3]
    assert server.refusals == []


def test_a_provider_that_takes_no_job_for_now_fails_no_row(server: JobServer, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    server.refusals = [429] * 3
    answers, run = answers_of(mixture_of(server, num_layers=1), some_rows(3), output=out)
    assert answers == []
    assert run.journal.gate.reason == "failures"
    assert "batch jobs cannot be submitted" in run.journal.gate.why
    assert "run the same command later" in run.journal.gate.why
    assert out.read_text() == ""
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(3), output=out)
    assert [answer.error for answer in answers] == [None] * 3


def test_a_job_whose_response_was_lost_is_looked_for_before_it_is_sent_again(server: JobServer) -> None:
    server.refusals = [0]  # there is no such job
    answers, _ = answers_of(mixture_of(server, num_layers=1), some_rows(3))
    assert [answer.error for answer in answers] == [None] * 3
    assert [len(job.lines) for job in server.jobs] == [6, 3]


def test_a_job_that_is_too_large_for_the_providers_queue_is_split(server: JobServer) -> None:
    server.most_lines = 30
    answers, run = answers_of(mixture_of(server, num_layers=1), some_rows(50))
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 50
    sizes = [len(job.lines) for job in server.jobs]
    assert sizes[:2] == [100, 50]
    assert sum(size for size in sizes if size <= 30) == 150
    assert run.journal.gate.is_open()


def test_a_line_that_no_queue_takes_fails_no_row(server: JobServer, tmp_path: Path) -> None:
    server.most_lines = 0
    answers, run = answers_of(mixture_of(server, num_layers=1), some_rows(1), output=tmp_path / "out.jsonl")
    assert answers == []
    assert "Enqueued token limit reached; run the same command when other jobs are over" in run.journal.gate.why


def test_a_server_whose_batches_are_another_api_is_asked_directly(server: JobServer) -> None:
    server.list_form = {"batches": [], "pagination_token": None}
    answers, run = answers_of(mixture_of(server, num_layers=1), some_rows(2))
    assert [answer.error for answer in answers] == [None] * 2
    assert (len(server.direct), server.jobs) == (6, [])
    assert run.job_queue is not None
    assert run.job_queue.direct == {f"openai:{NANO}"}


def test_a_provider_that_does_not_say_whether_it_has_jobs_is_not_asked_at_the_full_price(server: JobServer) -> None:
    server.list_status = 503
    answers, run = answers_of(mixture_of(server), some_rows(3))
    assert answers == []
    assert run.journal.gate.reason == "failures"
    assert "does not say whether it has batch jobs" in run.journal.gate.why
    assert (server.jobs, server.direct) == ([], [])


def test_members_without_jobs_are_asked_directly(server: JobServer) -> None:
    with JobServer() as other:
        other.has_jobs = False
        function: Any = RunnableLambda(lambda _: "a function")
        proposers = [chat_of(server), chat_of(other, "plain"), function]
        answers, run = answers_of(mixture_of(server, proposers=proposers, num_layers=1), some_rows(6))
        assert [answer.degraded for answer in answers] == [()] * 6
        assert len(other.direct) == 6
        assert other.jobs == []
    assert run.job_queue is not None
    assert run.job_queue.direct == {"openai:plain", "RunnableLambda"}
    assert [len(job.lines) for job in server.jobs] == [6, 6]


def test_a_proposers_fallback_is_in_a_job_too(server: JobServer) -> None:
    server.answer = lambda body: (400, "no") if body["model"] == "one" else says(body)
    proposer = Proposer(chat_of(server, "one"), fallbacks=[chat_of(server, "two")])
    answers, _ = answers_of(mixture_of(server, proposers=[proposer], num_layers=1), some_rows(4))
    assert [answer.error for answer in answers] == [None] * 4
    assert server.direct == []
    assert [{body["model"] for _, body in job.lines} for job in server.jobs] == [{"one"}, {"two"}, {NANO}]


def test_a_member_whose_address_has_parameters_is_asked_directly(server: JobServer) -> None:
    azure = chat_of(server, "plain", default_query={"api-version": "2024-10-21"})
    answers, run = answers_of(mixture_of(server, proposers=[azure], num_layers=1), some_rows(3))
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 3
    assert [body["model"] for body in server.direct] == ["plain"] * 3
    assert [len(job.lines) for job in server.jobs] == [3]
    assert run.job_queue is not None
    assert run.job_queue.direct == {"openai:plain"}


def test_one_model_is_in_each_job(server: JobServer) -> None:
    answers_of(mixture_of(server, proposers=[chat_of(server, "one"), chat_of(server, "two")], num_layers=1), some_rows(4))
    assert [len({body["model"] for _, body in job.lines}) for job in server.jobs] == [1] * 3


def test_anthropics_batches_are_used_by_their_sdk(server: JobServer) -> None:
    claude = claude_of(server)
    server.endings = ["completed", "expired"]
    answers, _ = answers_of(mixture_of(server, proposers=[claude], aggregator=claude, num_layers=1), some_rows(6))
    assert {answer.answer for answer in answers} == {f"claude-haiku-4-5 says: question {number}." for number in range(6)}
    assert [len(job.lines) for job in server.jobs] == [6, 6, 3]
    # Half of a dollar per million tokens.
    assert [answer.cost_usd for answer in answers] == [pytest.approx(2 * 0.5)] * 6
    server.answer = lambda _: (400, "no")
    answers, _ = answers_of(mixture_of(server, proposers=[claude], aggregator=claude, num_layers=1), some_rows(1))
    assert "no" in str(answers[0].error)


def _groq(server: JobServer) -> Any:
    groq = pytest.importorskip("langchain_groq", reason="the provider's package is not installed")
    return groq.ChatGroq(model="a/b", base_url=server.url, api_key=SecretStr("test"), max_retries=0)


@pytest.mark.parametrize("made", [together_of, _groq])
def test_the_batches_of_together_and_groq_are_used_in_their_own_form(
    server: JobServer, made: Callable[[JobServer], Any]
) -> None:
    model = made(server)
    server.endings = ["completed", "expired"]
    answers, _ = answers_of(mixture_of(server, proposers=[model], aggregator=model, num_layers=1), some_rows(6))
    assert {answer.answer for answer in answers} == {f"a/b says: question {number}." for number in range(6)}
    assert [len(job.lines) for job in server.jobs] == [6, 6, 3]
    assert server.direct == []
    server.endings = ["failed"]
    answers, _ = answers_of(mixture_of(server, proposers=[model], aggregator=model, num_layers=1), some_rows(1))
    assert "failed: there is no such model" in str(answers[0].error)


@pytest.mark.parametrize("made", [together_of, _groq])
def test_a_job_of_together_and_groq_is_found_though_its_id_was_never_heard(
    server: JobServer, tmp_path: Path, made: Callable[[JobServer], Any]
) -> None:
    model, out = made(server), tmp_path / "out.jsonl"
    mixture = mixture_of(server, proposers=[model], aggregator=model, num_layers=1)
    server.holds_from = 0
    assert _halted(mixture, out, server) == []
    with closing(sqlite3.connect(tmp_path / "out.jsonl.journal")) as journal, journal:
        assert journal.execute("UPDATE jobs SET job = NULL").rowcount == 1
    server.holds_from = None
    answers, _ = answers_of(mixture, some_rows(4), output=out)
    assert [answer.error for answer in answers] == [None] * 4
    assert [len(job.lines) for job in server.jobs] == [4, 4]


def test_a_limit_in_dollars_needs_the_longest_answer(server: JobServer) -> None:
    with pytest.raises(ValueError, match="max_cost_usd with half_price needs max_tokens"):
        answers_of(mixture_of(server), some_rows(1), max_cost_usd=1.0)
    with pytest.raises(ValueError, match="poll is 0; it must be more than 0"):
        BatchRun(mixture_of(server), [], half_price=True, poll=0)


_PROGRAM = """
import asyncio, json, sys
from langchain_openai import ChatOpenAI
from langchain_moa import Mixture, batch_answers

url, out, rows = sys.argv[1:]

def chat(temperature):
    return ChatOpenAI(model="gpt-4.1-nano", base_url=url, api_key="test", max_retries=0, temperature=temperature)

async def main():
    mixture = Mixture(proposers=[chat(0.1), chat(0.2)], aggregator=chat(0.3), num_layers=2)
    async for answer in batch_answers(mixture, json.loads(rows), output=out, half_price=True, poll=0.01):
        assert answer.error is None, answer

asyncio.run(main())
"""


def _start(server: JobServer, out: Path, rows: list[dict[str, Any]]) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", _PROGRAM, f"{server.url}/v1", str(out), json.dumps(rows)]
    return subprocess.Popen(arguments, cwd=_ROOT)  # noqa: S603  # our own program


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_process_that_comes_back_finds_its_jobs(server: JobServer, tmp_path: Path, at: int) -> None:
    out, rows = tmp_path / "out.jsonl", some_rows(12)
    server.holds_from = at
    process = _start(server, out, rows)
    until(lambda: len(server.jobs) > at or process.poll() is not None, "the job")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    assert [len(job.lines) for job in server.jobs] == [24, 24, 12][: at + 1]
    server.holds_from = None
    assert _start(server, out, rows).wait(timeout=PATIENCE) == 0
    assert [len(job.lines) for job in server.jobs] == [24, 24, 12]
    assert set(asked_of(server).values()) == {1}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(row["id"] for row in rows)


def test_a_job_that_was_submitted_when_the_process_was_killed_is_found(server: JobServer, tmp_path: Path) -> None:
    out, rows = tmp_path / "out.jsonl", some_rows(5)
    server.drops_created = True
    process = _start(server, out, rows)
    until(lambda: server.jobs or process.poll() is not None, "a job")
    process.kill()
    process.wait(timeout=PATIENCE)
    server.drops_created = False
    assert _start(server, out, rows).wait(timeout=PATIENCE) == 0
    assert [len(job.lines) for job in server.jobs] == [10, 10, 5]
    assert set(asked_of(server).values()) == {1}


def _halted(mixture: Mixture, out: Path, server: JobServer) -> list[BatchAnswer]:
    """Ask four rows, and end when there is a job."""

    async def begin(run: BatchRun) -> list[BatchAnswer]:
        async def halt() -> None:
            await asyncio.to_thread(until, lambda: server.jobs, "a job")
            run.halt()

        task = asyncio.create_task(halt())
        answers = [answer async for answer in run.answers()]
        await task
        return answers

    with BatchRun(mixture, some_rows(4), output=out, half_price=True, poll=0.01) as run:
        return asyncio.run(begin(run))


def test_ctrl_c_leaves_the_jobs_to_the_next_run(server: JobServer, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    server.holds_from = 0
    assert _halted(mixture_of(server), out, server) == []
    assert out.read_text() == ""
    server.holds_from = None
    answers, _ = answers_of(mixture_of(server), some_rows(4), output=out)
    assert len(answers) == 4
    assert [len(job.lines) for job in server.jobs] == [8, 8, 4]


def test_answers_of_jobs_are_kept_like_all_others(server: JobServer, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    server.answer = lambda body: (400, "no") if "helpful" in str(body) or body.get("temperature") is None else says(body)
    mixture = mixture_of(server, num_layers=1)
    answers, _ = answers_of(mixture, some_rows(3), output=out)
    assert all(answer.error is not None for answer in answers)
    server.answer = says
    answers, _ = answers_of(mixture, some_rows(3), output=out, retry_failed=True)
    assert [answer.error for answer in answers] == [None] * 3
    # The proposers' answers are already paid for.
    assert len(server.jobs[-1].lines) == 3
    assert [len(job.lines) for job in server.jobs] == [6, 3, 3]
    with closing(sqlite3.connect(tmp_path / "out.jsonl.journal")) as journal:
        left = journal.execute("SELECT (SELECT COUNT(*) FROM jobs), (SELECT COUNT(*) FROM job_lines)").fetchone()
    assert left == (0, 0)
