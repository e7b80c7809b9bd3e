"""Batches on a local Ray: each row is answered once, even if a worker is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda
from pydantic import SecretStr

from langchain_moa import Mixture
from langchain_moa.batch.limits import BatchError
from langchain_moa.batch.run import BatchRun
from tests.loopback import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.loopback import Loopback

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _models(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray gives its workers a low priority; on a busy machine they would hardly run.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    yield
    ray.shutdown()


def _rows(number: int) -> list[dict[str, Any]]:
    return [{"id": f"r{each}", "prompt": f"question {each}.", "kind": each % 3} for each in range(number)]


def test_each_of_500_rows_is_answered_once_though_a_worker_is_killed(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    # One call for each row: the time is that of Ray.
    mixture = Mixture(proposers=["openai:a"], aggregation="medoid", num_layers=1)
    refused = []

    def sometimes(body: dict[str, Any]) -> Reply:
        # Too many concurrent calls are rejected; the workers share the pace.
        if loopback.open_calls > 12:
            refused.append(body)
            return Reply("slow down", status=429, headers={"retry-after": "0.05"})
        return Reply("ok")

    loopback.script("a", sometimes)

    async def collect(run: BatchRun) -> list[Any]:
        killed = False
        answers = []
        async for answer in run.answers():
            answers.append(answer)
            if len(answers) == 100 and not killed:
                killed = True
                os.kill(await run.asker.workers[0].pid.remote(), signal.SIGKILL)  # type: ignore[union-attr]
        return answers

    with BatchRun(mixture, _rows(500), output=out, ray="local", workers=2, concurrency=16, references=True) as run:
        answers = asyncio.run(collect(run))
    assert {answer.error for answer in answers} == {None}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(row["id"] for row in _rows(500))
    assert {(line["answer"], len(line["references"])) for line in lines} == {("ok", 1)}
    assert all(line["kind"] == int(line["id"][1:]) % 3 for line in lines)
    # Only the killed worker's running calls are made twice.
    asked = len({request.user for request in loopback.calls("a")})
    assert asked == 500
    assert len(loopback.calls("a")) - len(refused) <= 500 + 16
    # Rows in the output are not asked again, whether Ray asks or this process.
    loopback.reset()
    with BatchRun(mixture, _rows(501), output=out) as run:
        assert [answer.id for answer in asyncio.run(collect(run))] == ["r500"]
    assert len(loopback.calls("a")) == 1


def test_a_mixture_of_objects_is_refused_with_the_reason(loopback: Loopback, tmp_path: Path) -> None:
    members: list[Any] = [loopback.chat("a"), RunnableLambda(lambda _: "x", name="f")]
    for member in members:
        mixture = Mixture(proposers=["openai:b", member], aggregator="openai:last", num_layers=1)
        with pytest.raises(
            BatchError, match=r"ray: .* is an object, which cannot be sent to another process.*'provider:model'"
        ):
            BatchRun(mixture, [], output=tmp_path / "out.jsonl", ray="local")
    secret = Mixture(proposers=["openai:b"], aggregator="openai:last", num_layers=1, api_key=SecretStr("sk-secret"))
    with pytest.raises(BatchError, match="set the provider's environment variable on each of them"):
        BatchRun(secret, [], ray="local")
    assert not ray.is_initialized()


def test_what_one_process_keeps_is_refused() -> None:
    mixture = Mixture(proposers=["openai:b"], aggregator="openai:last", num_layers=1)
    with pytest.raises(ValueError, match="half_price works in one process only, and ray uses several; leave one out"):
        BatchRun(mixture, [], ray="local", half_price=True)
    with pytest.raises(ValueError, match="max_cost_usd works in one process only"):
        BatchRun(mixture, [], ray="local", max_cost_usd=1)
    with pytest.raises(ValueError, match="workers is 0; it must be more than 0"):
        BatchRun(mixture, [], ray="local", workers=0)
