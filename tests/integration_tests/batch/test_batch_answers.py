"""`batch_answers` at the wire: each row is asked once, and what is paid for is never asked again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_moa import BatchAnswer, ChatMoA, Mixture, Proposer, Retry, batch_answers, create_moa
from langchain_moa.batch.limits import BatchError, StoppedError
from langchain_moa.batch.run import BatchRun
from langchain_moa.data.rows import RowError
from tests.integration_tests.batch.asking import answered, asked, lines_of, pair, prompts
from tests.loopback import Reply, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.loopback import Loopback
    from tests.loopback.reply import Body


@tool
def look_up(what: str) -> str:
    """Look something up."""
    return f"nothing about {what}"


@pytest.mark.parametrize("shape", ["mixture", "graph", "agent", "agent with a mixture"])
def test_a_member_of_several_calls_counts_all_of_them(loopback: Loopback, shape: str) -> None:
    each = Usage(prompt=1_000_000, completion=1_000_000)
    called = Reply(tool_calls=[ToolCall("look_up", {"what": "it"})], usage=each)
    loopback.script("gpt-4.1", [called, Reply("text", usage=each)] if "agent" in shape else Reply("text", usage=each))
    loopback.script("gpt-4.1-mini", Reply("text", usage=each))
    mini, full = loopback.chat("gpt-4.1-mini"), loopback.chat("gpt-4.1")
    inner = ChatMoA(proposers=[mini], aggregator=full, num_layers=1)
    members: dict[str, Any] = {
        "mixture": inner,
        "graph": create_moa(inner).compile(),
        "agent": create_agent(full, [look_up]),
        "agent with a mixture": create_agent(inner, [look_up]),
    }
    (answer,) = answered(Mixture(proposers=[members[shape]], aggregator=mini, num_layers=1), ["Hi"])
    calls = Counter(loopback.models)
    million = calls.total() * 1_000_000
    assert answer.tokens == {"input_tokens": million, "output_tokens": million, "total_tokens": 2 * million}
    assert answer.cost_usd == pytest.approx(calls["gpt-4.1-mini"] * 2.0 + calls["gpt-4.1"] * 10.0)


def test_each_row_has_its_answer_its_columns_and_what_it_took(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    answers = answered(pair(loopback), prompts(20), output=out, references=True)
    assert {answer.id: answer.answer for answer in answers} == {f"r{i}": f"last says: question {i}" for i in range(20)}
    lines = {line["id"]: line for line in lines_of(out)}
    assert len(lines) == 20
    line = lines["r7"]
    assert list(line) == ["id", "prompt", "kind", "answer", "error", "cost_usd", "tokens", "degraded", "references"]
    assert (line["prompt"], line["kind"], line["error"], line["degraded"]) == ("question 7", 1, None, [])
    assert [(each["layer"], each["proposer"], each["text"]) for each in line["references"]] == [
        (1, 1, "a says: question 7"),
        (1, 2, "b says: question 7"),
    ]
    assert line["tokens"]["total_tokens"] == line["tokens"]["input_tokens"] + line["tokens"]["output_tokens"]
    assert line["tokens"]["output_tokens"] == 3 * 4
    # The requests are the same as those that the mixture sends by itself.
    sent = loopback.calls("last")[-1]
    loopback.reset()
    ChatMoA(proposers=[loopback.chat("a"), loopback.chat("b")], aggregator=loopback.chat("last"), num_layers=1).invoke(
        sent.user
    )
    assert loopback.calls("last")[0].body == sent.body


def test_two_rows_that_ask_the_same_are_two_samples(loopback: Loopback) -> None:
    rows = [{"prompt": "Toss a coin.", "id": number} for number in range(3)]
    assert len(answered(pair(loopback), rows)) == 3
    assert asked(loopback, "a") == {"Toss a coin.": 3}


def test_what_an_answer_lacks_is_said(loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("b", Reply("gone", status=404))
    out = tmp_path / "out.jsonl"
    [answer] = answered(pair(loopback), ["Why?"], output=out)
    assert answer.answer == "last says: Why?"
    [said] = answer.degraded
    assert said.startswith("layer 1: proposer 2, ")
    assert lines_of(out)[0]["degraded"] == [said]


def test_a_file_is_checked_before_anything_is_asked(loopback: Loopback, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n')
    with pytest.raises(RowError, match="line 2: the id 'x' is also in line 1"):
        answered(pair(loopback), rows)
    rows.write_text('{"prompt": "a"}\n{"text": "b"}\n')
    with pytest.raises(RowError, match="line 2: no prompt"):
        answered(pair(loopback), rows)
    rows.write_text("\n")
    with pytest.raises(RowError, match="has no rows"):
        answered(pair(loopback), rows)
    assert loopback.requests == []


def test_of_an_iterable_only_the_row_that_cannot_be_asked_fails(loopback: Loopback) -> None:
    answers = {answer.id: answer for answer in answered(pair(loopback), [{"prompt": "a"}, {"text": "b", "id": "z"}, "c"])}
    assert answers[1].answer == "last says: a"
    assert answers["z"].error == (
        "rows, item 2: no prompt: none of prompt, question, input, messages is a column; there are 'text', 'id'; choose one "
        "with --prompt-field"
    )
    assert answers[3].answer == "last says: c"


def test_rows_that_cannot_be_asked_have_one_line_and_end_no_run(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows = [*({"id": f"bad{number}", "text": "?"} for number in range(20)), {"id": "good", "prompt": "a"}]
    answers = answered(pair(loopback), rows, output=out, concurrency=1)
    assert [answer.error is None for answer in answers] == [False] * 20 + [True]
    assert answered(pair(loopback), rows, output=out, concurrency=1) == []
    assert len(lines_of(out)) == 21
    assert len(answered(pair(loopback), rows, output=out, retry_failed=True)) == 20
    assert len(lines_of(out)) == 21
    # The number of a row without an id may be the id of another one.
    with pytest.raises(RowError, match="rows, item 2: no prompt"):
        answered(pair(loopback), [{"id": 2, "prompt": "a"}, {"text": "?"}], output=tmp_path / "b.jsonl", concurrency=1)
    assert [line["error"] for line in lines_of(tmp_path / "b.jsonl")] == [None]


def test_a_source_that_breaks_off_loses_no_answer(loopback: Loopback) -> None:
    def rows() -> Iterator[str]:
        yield "a"
        yield "b"
        msg = "the line is dead"
        raise OSError(msg)

    found = []

    async def collect() -> None:
        async for answer in batch_answers(pair(loopback), rows()):
            found.append(answer.answer)  # noqa: PERF401  # those before the error count

    with pytest.raises(OSError, match="the line is dead"):
        asyncio.run(collect())
    assert sorted(map(str, found)) == ["last says: a", "last says: b"]


def test_no_more_rows_than_asked_for_are_under_way_or_read_ahead(loopback: Loopback) -> None:
    taken = []

    def rows() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield f"q{number}"

    async def some() -> None:
        async with aclosing(batch_answers(pair(loopback), rows(), concurrency=3)) as answers:
            read = 0
            async for _ in answers:
                read += 1
                # Three rows that are not read yet, and three running ones.
                assert len(taken) <= read + 2 * 3 + 1
                if read == 20:
                    break

    asyncio.run(some())
    assert len({request.user for request in loopback.requests}) <= 20 + 7
    loopback.settle()
    assert loopback.peak <= 3 * 2


def test_a_rate_limit_slows_the_calls_and_fails_no_row(loopback: Loopback) -> None:
    refused = []

    def sometimes(body: Body) -> Reply:
        # More than four concurrent calls are too many.
        under_way = loopback.open_calls
        if under_way > 4:
            refused.append(body)
            return Reply("slow down", status=429, headers={"retry-after": "0.05"})
        return Reply("ok", delay=0.01)

    loopback.script("*", sometimes)
    answers = answered(pair(loopback), prompts(60), concurrency=30)
    assert refused
    assert [answer.error for answer in answers] == [None] * 60
    assert [answer.degraded for answer in answers] == [()] * 60


def test_the_time_of_a_proposer_does_not_pass_while_its_provider_refuses_it(loopback: Loopback) -> None:
    refused = iter([True])
    loopback.script("a", lambda _: Reply(status=429, headers={"retry-after": "1.5"}) if next(refused, False) else "ok")
    [answer] = answered(pair(loopback, proposer_timeout=1.0), ["Why?"], references=True)
    assert answer.degraded == ()
    assert [reference["text"] for reference in answer.references] == ["ok", "b says: Why?"]


def test_models_given_as_strings_do_not_retry_by_themselves(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    refused = iter([500, 500])
    loopback.script("a", lambda _: Reply("ok", status=next(refused, 200)))
    given: dict[str, Any] = {"proposers": ["openai:a"], "aggregator": loopback.chat("last"), "num_layers": 1}
    for attempts, fields in ((3, {}), (6, {"max_retries": 5}), (2, {"retry": Retry(attempts=2)})):
        with BatchRun(Mixture(**{**given, **fields}), ["Why?"]) as run:
            model: Any = run.mixture.members.layers[0][0].chat_model
            assert model.max_retries == 0
            assert run.mixture.retry == Retry(attempts=attempts)
    [answer] = answered(Mixture(**given), ["Why?"])
    assert (answer.error, answer.degraded, len(loopback.calls("a"))) == (None, (), 3)
    # What is set for one member is kept.
    own = Mixture(**{**given, "proposers": [Proposer("openai:a", settings={"max_retries": 4})]})
    with BatchRun(own, ["Why?"]) as run:
        assert run.mixture is own


def test_no_call_is_made_again_after_the_end(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("a", Reply(status=429, headers={"retry-after": "600"}))

    async def ended(run: BatchRun) -> list[BatchAnswer]:
        async def halt() -> None:
            await asyncio.to_thread(loopback.wait_for, 2, "a")
            await asyncio.to_thread(loopback.settle)
            run.halt()

        halting = asyncio.create_task(halt())
        found = [answer async for answer in run.answers()]
        await halting
        return found

    with BatchRun(pair(loopback), prompts(5), output=out, concurrency=2) as run:
        assert asyncio.run(ended(run)) == []
    assert len(loopback.calls("a")) == 2
    assert out.read_text() == ""


def test_a_rate_limit_of_a_proposers_fallback_fails_no_row_either(loopback: Loopback) -> None:
    refused = iter([True] * 3)
    loopback.script("broken", Reply("no", status=400))
    loopback.script("other", lambda _: Reply(status=429, headers={"retry-after": "0"}) if next(refused, False) else "ok")
    proposer = Proposer(loopback.chat("broken"), fallbacks=[loopback.chat("other")])
    [answer] = answered(pair(loopback, proposers=[proposer], retry=None), ["Why?"], references=True)
    assert [reference["text"] for reference in answer.references] == ["ok"]
    assert loopback.models == ["broken", *["other"] * 4, "last"]


def test_money_is_reserved_before_it_is_spent(loopback: Loopback, tmp_path: Path) -> None:
    # Its output costs 40 cents per million tokens.
    loopback.script("*", Reply("so", usage=Usage(prompt=0, completion=1_000_000)))
    nano = loopback.chat("gpt-4.1-nano", max_tokens=1_000_000)
    mixture = Mixture(proposers=[nano], aggregator=nano, num_layers=1, max_tokens=1_000_000)
    out = tmp_path / "out.jsonl"
    found = []

    async def collect() -> None:
        async for answer in batch_answers(mixture, prompts(10), output=out, max_cost_usd=2.05, concurrency=4):
            found.append(answer)  # noqa: PERF401  # those before the error count

    for calls in (5, 0):
        loopback.reset()
        with pytest.raises(StoppedError, match=r"--max-cost-usd 2\.05: "):
            asyncio.run(collect())
        assert len(loopback.requests) == calls
    assert 0 < len(found) <= 2
    assert all(answer.cost_usd == pytest.approx(0.8) for answer in found)


@pytest.mark.parametrize("count", [-5, 1.5, 1e308, 10**400, float("nan")])
def test_counts_that_are_none_lose_no_answer(loopback: Loopback, tmp_path: Path, count: Any) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("*", Reply("so", usage=Usage(prompt=count, completion=1)))
    nano = loopback.chat("gpt-4.1-nano")
    mixture = Mixture(proposers=[nano], aggregator=nano, num_layers=1)
    assert [answer.answer for answer in answered(mixture, prompts(2), output=out)] == ["so", "so"]
    assert answered(mixture, prompts(2), output=out) == []
    assert len(loopback.requests) == 4
    for line in out.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_price_that_is_not_known_refuses_the_limit(loopback: Loopback) -> None:
    with pytest.raises(ValueError, match=r"max_cost_usd cannot be kept: the price of .* is unknown"):
        answered(pair(loopback), ["a"], max_cost_usd=1)


def test_a_key_that_has_expired_does_not_fail_a_million_rows(loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("*", Reply("expired", status=401))
    out = tmp_path / "out.jsonl"
    with pytest.raises(StoppedError, match="failed 8 times in a row, and the run was given up"):
        answered(pair(loopback), prompts(1000), output=out, concurrency=2)
    assert len(lines_of(out)) <= 10
    assert len(loopback.requests) < 30


def test_wrong_arguments_name_the_remedy(loopback: Loopback, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="concurrency is 0; it must be more than 0"):
        answered(pair(loopback), ["a"], concurrency=0)
    with pytest.raises(ValueError, match="ordered needs an output file; give an output"):
        answered(pair(loopback), ["a"], ordered=True)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n')
    with pytest.raises(BatchError, match=r"rows\.jsonl is the input; give another --output"):
        answered(pair(loopback), rows, output=rows)
    assert rows.read_text() == '{"prompt": "a"}\n'


def test_conversations_and_system_messages_are_sent_as_they_are(loopback: Loopback) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Why?"}]
    answered(pair(loopback), [{"messages": talk}], system="Be brief.")
    assert [message["content"] for message in loopback.calls("a")[0].messages] == ["Be brief.", "Hi", "Hello", "Why?"]
    assert len(loopback.requests) == 3
