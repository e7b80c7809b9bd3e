"""`half_price` with providers that fail: what was paid for is used, no row waits for ever, and each error has a remedy."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

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
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_moa import BatchAnswer, Mixture
    from tests.integration_tests.batch.job_server import JobServer


def _one_layer(server: JobServer, made: Callable[[JobServer], Any] = chat_of) -> Mixture:
    model = made(server)
    return mixture_of(server, proposers=[model], aggregator=model, num_layers=1)


def _left_at_the_provider(server: JobServer, mixture: Mixture, out: Path, *, jobs: int = 1) -> None:
    """Submit jobs, and end the run when their ids are known."""

    async def begin(run: BatchRun) -> list[BatchAnswer]:
        async def halt() -> None:
            assert run.job_queue is not None
            queue = run.job_queue
            await asyncio.to_thread(until, lambda: queue.submitted == jobs, "the jobs")
            run.halt()

        task = asyncio.create_task(halt())
        answers = [answer async for answer in run.answers()]
        await task
        return answers

    server.holds_from = 0
    with BatchRun(mixture, some_rows(4), output=out, half_price=True, poll=0.01) as run:
        assert asyncio.run(begin(run)) == []
    server.holds_from = None


def _forget_id(out: Path, job: str = "job_0") -> None:
    """Leave the journal as if the process had been killed before it knew the id of a job."""
    with closing(sqlite3.connect(out.with_name(f"{out.name}.journal"))) as journal, journal:
        assert journal.execute("UPDATE jobs SET job = NULL WHERE job = ?", (job,)).rowcount == 1


def test_a_provider_that_cannot_be_polled_for_long_loses_nothing(server: JobServer) -> None:
    server.polls = [500, 429, 502, 429, 503, 500, 529]
    answers, _ = answers_of(_one_layer(server), some_rows(3))
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 3
    assert set(asked_of(server).values()) == {1}
    assert server.polls == []


@pytest.mark.parametrize("made", [chat_of, claude_of])
def test_results_may_be_in_any_order_and_there_twice(server: JobServer, made: Callable[[JobServer], Any]) -> None:
    def changed(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True) * 2
        random.Random(1).shuffle(lines)  # noqa: S311  # the order of a file
        return b"".join(lines)

    server.file_changed = changed
    answers, _ = answers_of(_one_layer(server, made), some_rows(9))
    assert {answer.id: str(answer.answer).partition(": ")[2] for answer in answers} == {
        f"r{number}": f"question {number}." for number in range(9)
    }
    assert set(asked_of(server).values()) == {1}


@pytest.mark.parametrize("made", [chat_of, claude_of])
def test_lines_that_are_cut_or_missing_are_in_the_next_job(server: JobServer, made: Callable[[JobServer], Any]) -> None:
    cuts: list[Callable[[bytes], bytes]] = [
        lambda content: content[: len(content) // 2],
        lambda content: b"".join(content.splitlines(keepends=True)[1:]),
    ]
    server.file_changed = lambda content: cuts.pop(0)(content) if cuts else content
    answers, run = answers_of(_one_layer(server, made), some_rows(9))
    assert run.journal.gate.why == ""
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 9
    assert 1 < max(asked_of(server).values()) <= 3


def test_what_is_no_line_of_results_is_skipped(server: JobServer) -> None:
    server.file_changed = lambda content: b'null\n\n[]\n{}\n{"custom_id": "x"}\n<html>\n' + content
    answers, _ = answers_of(_one_layer(server), some_rows(3))
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 3
    assert set(asked_of(server).values()) == {1}


def test_a_call_that_timed_out_inside_a_job_is_in_the_next_one(server: JobServer) -> None:
    changes = 1

    def changed(content: bytes) -> bytes:
        nonlocal changes
        changes -= 1
        lines = [json.loads(line) for line in content.splitlines()]
        error = {"code": "request_timeout", "message": "The underlying call to the model timed out."}
        lines = [{**line, "response": None, "error": error} for line in lines] if changes == 0 else lines
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    server.file_changed = changed
    answers, _ = answers_of(_one_layer(server), some_rows(3))
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 3
    assert [len(job.lines) for job in server.jobs] == [3, 3, 3]


@pytest.mark.parametrize("made", [chat_of, claude_of, together_of])
def test_a_job_that_has_vanished_is_sent_again_only_if_you_say_so(
    server: JobServer, tmp_path: Path, made: Callable[[JobServer], Any]
) -> None:
    out, mixture = tmp_path / "out.jsonl", _one_layer(server, made)
    _left_at_the_provider(server, mixture, out)
    server.gone = {"job_0"}
    answers, run = answers_of(mixture, some_rows(4), output=out)
    assert answers == []
    assert "the job job_0 is not there any more" in run.journal.gate.why
    assert "the key that submitted it" in run.journal.gate.why
    assert "--retry-failed" in run.journal.gate.why
    assert len(server.jobs) == 1
    answers, _ = answers_of(mixture, some_rows(4), output=out, retry_failed=True)
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 4
    assert [len(job.lines) for job in server.jobs] == [4, 4, 4]


def test_a_file_that_is_too_large_for_the_provider_is_split(server: JobServer) -> None:
    server.most_bytes = 6000
    answers, run = answers_of(mixture_of(server, num_layers=1), some_rows(40))
    assert run.journal.gate.why == ""
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 40
    assert set(asked_of(server).values()) == {1}
    assert len(server.jobs) > 3


def test_a_line_that_is_too_large_by_itself_fails_its_row_only(server: JobServer) -> None:
    server.most_bytes = 6000
    rows = [*some_rows(3), {"id": "long", "prompt": "x" * 9000}]
    answers, run = answers_of(_one_layer(server), rows)
    assert run.journal.gate.why == ""
    errors = {answer.id: answer.error for answer in answers}
    assert "the file is too large" in str(errors.pop("long"))
    assert errors == {f"r{number}": None for number in range(3)}


def test_a_job_whose_response_was_lost_is_not_created_again_by_a_client_that_retries(server: JobServer) -> None:
    server.loses_created = 1
    model = ChatOpenAI(model=NANO, base_url=f"{server.url}/v1", api_key=SecretStr("test"), max_retries=2)
    answers, _ = answers_of(mixture_of(server, proposers=[model], aggregator=model, num_layers=1), some_rows(3))
    assert [answer.error for answer in answers] == [None] * 3
    assert [len(job.lines) for job in server.jobs] == [3, 3]


def test_the_time_limit_of_a_models_client_is_not_that_of_a_job(server: JobServer, caplog: pytest.LogCaptureFixture) -> None:
    server.created = lambda: time.sleep(1)
    answers, run = answers_of(_one_layer(server, lambda server: chat_of(server, timeout=0.2)), some_rows(2))
    assert run.journal.gate.why == ""
    assert [answer.error for answer in answers] == [None] * 2
    assert [len(job.lines) for job in server.jobs] == [2, 2]
    assert not [line for line in caplog.messages if "was not submitted" in line]


@pytest.mark.parametrize("made", [chat_of, together_of])
@pytest.mark.parametrize("hours", [-14, 14])
def test_a_job_is_found_though_the_clocks_differ(
    server: JobServer, tmp_path: Path, made: Callable[[JobServer], Any], hours: int
) -> None:
    out, mixture = tmp_path / "out.jsonl", _one_layer(server, made)
    server.clock = hours * 3600.0
    _left_at_the_provider(server, mixture, out)
    _forget_id(out)
    server.submit([], {})  # of another program
    answers, _ = answers_of(mixture, some_rows(4), output=out)
    assert [answer.error for answer in answers] == [None] * 4
    assert [len(job.lines) for job in server.jobs] == [4, 0, 4]


@pytest.mark.parametrize("lost", ["job_0", "job_1"])
def test_each_of_two_jobs_of_one_size_is_found(server: JobServer, tmp_path: Path, lost: str) -> None:
    out = tmp_path / "out.jsonl"
    models = [claude_of(server), claude_of(server, "claude-sonnet-4-5")]
    mixture = mixture_of(server, proposers=models, aggregator=models[0], num_layers=1)
    _left_at_the_provider(server, mixture, out, jobs=2)
    _forget_id(out, lost)
    answers, _ = answers_of(mixture, some_rows(4), output=out)
    assert [(answer.error, answer.degraded) for answer in answers] == [(None, ())] * 4
    assert [len(job.lines) for job in server.jobs] == [4, 4, 4]


def test_a_file_that_was_deleted_at_together_hides_no_job(server: JobServer, tmp_path: Path) -> None:
    out, mixture = tmp_path / "out.jsonl", _one_layer(server, together_of)
    _left_at_the_provider(server, mixture, out)
    _forget_id(out)
    server.submit([], {}).file = "deleted"
    answers, run = answers_of(mixture, some_rows(4), output=out)
    assert run.journal.gate.why == ""
    assert [answer.error for answer in answers] == [None] * 4
    assert [len(job.lines) for job in server.jobs] == [4, 0, 4]


def test_a_run_that_is_given_up_while_it_submits_submits_no_other_job(server: JobServer) -> None:
    server.refusals = [503] * 3
    names = ("gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1", "gpt-4o", "gpt-4o-mini")
    proposers = [chat_of(server, name) for name in names]
    answers, run = answers_of(mixture_of(server, proposers=proposers, num_layers=1), some_rows(3))
    assert answers == []
    assert "batch jobs cannot be submitted" in run.journal.gate.why
    assert server.jobs == []


@pytest.mark.parametrize("at", [0, 1])
def test_a_run_that_ends_between_two_jobs_of_a_layer_submits_no_other_job(server: JobServer, at: int) -> None:
    names = ("gpt-4.1-nano", "gpt-4.1-mini", "gpt-4.1")
    mixture = mixture_of(server, proposers=[chat_of(server, name) for name in names], num_layers=1)

    async def begin(run: BatchRun) -> list[BatchAnswer]:
        loop = asyncio.get_running_loop()
        server.created = lambda: len(server.jobs) == at + 1 and asyncio.run_coroutine_threadsafe(halt(run), loop).result()
        return [answer async for answer in run.answers()]

    async def halt(run: BatchRun) -> None:
        run.halt()

    with BatchRun(mixture, some_rows(3), half_price=True, poll=0.01) as run:
        assert asyncio.run(begin(run)) == []
    assert run.journal.gate.reason == "signal"
    assert len(server.jobs) == at + 1
