"""`batch_answers` at the wire: each row is asked once, and what is paid for is never asked again."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_moa import BatchAnswer, ChatMoA, Mixture, Proposer, Retry, batch_answers, create_moa
from langchain_moa.batch.limits import BatchError, StoppedError
from langchain_moa.batch.run import BatchRun
from langchain_moa.data.rows import RowError
from tests.loopback import Reply, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.loopback import Loopback
    from tests.loopback.reply import Body


def _mixture(server: Loopback, **fields: Any) -> Mixture:
    given = {"proposers": [server.chat("a"), server.chat("b")], "aggregator": server.chat("last"), "num_layers": 1}
    return Mixture(**{**given, **fields})


def _answers(mixture: Mixture, rows: Any, **settings: Any) -> list[BatchAnswer]:
    async def collect() -> list[BatchAnswer]:
        return [answer async for answer in batch_answers(mixture, rows, **settings)]

    return asyncio.run(collect())


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _prompts(number: int) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "prompt": f"question {i}", "kind": i % 3} for i in range(number)]


def _asked(server: Loopback, model: str) -> Counter[str]:
    return Counter(request.user for request in server.calls(model))


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
    (answer,) = _answers(Mixture(proposers=[members[shape]], aggregator=mini, num_layers=1), ["Hi"])
    calls = Counter(loopback.models)
    million = calls.total() * 1_000_000
    assert answer.tokens == {"input_tokens": million, "output_tokens": million, "total_tokens": 2 * million}
    assert answer.cost_usd == pytest.approx(calls["gpt-4.1-mini"] * 2.0 + calls["gpt-4.1"] * 10.0)


def test_each_row_has_its_answer_its_columns_and_what_it_took(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    answers = _answers(_mixture(loopback), _prompts(20), output=out, references=True)
    assert {answer.id: answer.answer for answer in answers} == {f"r{i}": f"last says: question {i}" for i in range(20)}
    lines = {line["id"]: line for line in _lines(out)}
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


def test_what_is_in_the_output_is_not_asked_again(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert len(_answers(_mixture(loopback), _prompts(5), output=out)) == 5
    loopback.reset()
    assert {answer.id for answer in _answers(_mixture(loopback), _prompts(7), output=out)} == {"r5", "r6"}
    assert sorted(_asked(loopback, "a")) == ["question 5", "question 6"]
    assert sorted(line["id"] for line in _lines(out)[5:]) == ["r5", "r6"]


def test_two_rows_that_ask_the_same_are_two_samples(loopback: Loopback) -> None:
    rows = [{"prompt": "Toss a coin.", "id": number} for number in range(3)]
    assert len(_answers(_mixture(loopback), rows)) == 3
    assert _asked(loopback, "a") == {"Toss a coin.": 3}


def test_a_row_that_was_cut_off_pays_only_for_what_is_missing(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("last", Reply(hang=True))

    async def begin() -> None:
        async def work() -> None:
            async for _ in batch_answers(_mixture(loopback), _prompts(3), output=out, concurrency=3):
                pass

        task = asyncio.create_task(work())
        await asyncio.to_thread(loopback.wait_for, 3, "last")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(begin())
    assert out.read_text() == ""
    loopback.settle()
    loopback.reset()
    loopback.script("last", "done")
    answers = _answers(_mixture(loopback), _prompts(3), output=out)
    assert [answer.answer for answer in answers] == ["done"] * 3
    assert loopback.models == ["last"] * 3
    # The tokens of calls that were already paid for are counted.
    assert all(answer.tokens is not None and answer.tokens["output_tokens"] == 2 * 4 + 1 for answer in answers)


def test_the_journal_stays_small(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("last", lambda body: Reply(status=400) if "question 3" in str(body["messages"]) else "ok")
    _answers(_mixture(loopback), _prompts(6), output=out)
    with closing(sqlite3.connect(tmp_path / "out.jsonl.journal")) as journal:
        kept = journal.execute("SELECT row, COUNT(*) FROM calls GROUP BY row").fetchall()
    # Only a failed row may need its calls again.
    assert kept == [("r3", 2)]


def test_failed_rows_say_why_and_are_asked_again_only_if_you_say_so(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    loopback.script("last", lambda body: Reply("no", status=400) if "question 1" in str(body["messages"]) else "ok")
    answers = {answer.id: answer for answer in _answers(_mixture(loopback), _prompts(3), output=out)}
    assert answers["r1"].answer is None
    assert answers["r1"].error is not None
    assert "Error code: 400 - no" in answers["r1"].error
    assert answers["r0"].error is None
    failed = next(line for line in _lines(out) if line["id"] == "r1")
    assert failed["answer"] is None
    assert failed["error"] == answers["r1"].error
    loopback.reset()
    loopback.script("last", "now")
    assert _answers(_mixture(loopback), _prompts(3), output=out) == []
    assert loopback.requests == []
    [again] = _answers(_mixture(loopback), _prompts(3), output=out, retry_failed=True)
    assert (again.id, again.answer) == ("r1", "now")
    # Its proposers are already paid for.
    assert loopback.models == ["last"]
    assert Counter(line["id"] for line in _lines(out)) == {"r0": 1, "r1": 1, "r2": 1}


def test_what_an_answer_lacks_is_said(loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("b", Reply("gone", status=404))
    out = tmp_path / "out.jsonl"
    [answer] = _answers(_mixture(loopback), ["Why?"], output=out)
    assert answer.answer == "last says: Why?"
    [said] = answer.degraded
    assert said.startswith("layer 1: proposer 2, ")
    assert _lines(out)[0]["degraded"] == [said]


def test_the_output_can_be_put_in_order(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    first = loopback.gate()
    loopback.script("last", lambda body: Reply("late", gate=first) if "question 0" in str(body["messages"]) else "ok")

    async def collect() -> list[Any]:
        ids = []
        async for answer in batch_answers(_mixture(loopback), _prompts(9), output=out, concurrency=2, ordered=True):
            ids.append(answer.id)
            if len(ids) == 8:
                first.open()
        return ids

    assert asyncio.run(collect())[-1] == "r0"
    assert [line["id"] for line in _lines(out)] == [f"r{i}" for i in range(9)]
    assert _answers(_mixture(loopback), _prompts(9), output=out) == []


def test_columns_named_like_a_field_of_the_output_are_kept(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows = [{"question": "1 + 1?", "answer": "2", "error": "x", "input_answer": "y", "tokens": 3}]
    _answers(_mixture(loopback), rows, output=out)
    [line] = _lines(out)
    assert line["answer"] == "last says: 1 + 1?"
    assert (line["input_input_answer"], line["input_answer"]) == ("2", "y")
    assert (line["input_error"], line["input_tokens"], line["error"]) == ("x", 3, None)


def test_a_second_run_on_one_output_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with (
        BatchRun(_mixture(loopback), [], output=out),
        pytest.raises(BatchError, match=r"out\.jsonl\.journal is in use by another run"),
    ):
        _answers(_mixture(loopback), ["a"], output=out)
    assert loopback.requests == []
    assert len(_answers(_mixture(loopback), ["a"], output=out)) == 1


def test_another_mixture_on_one_output_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    _answers(_mixture(loopback), ["a"], output=out)
    loopback.reset()
    with pytest.raises(BatchError, match="was started with another mixture; give another --output"):
        _answers(_mixture(loopback, temperature=0.3), ["a", "b"], output=out)
    assert loopback.requests == []
    # How calls are made does not change the answers.
    assert len(_answers(_mixture(loopback, retry=Retry(attempts=5)), ["a", "b"], output=out)) == 1


def test_an_id_that_asks_something_else_now_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    assert len(_answers(_mixture(loopback), rows, output=out)) == 2
    loopback.reset()
    rows.write_text('{"prompt": "new"}\n{"prompt": "a"}\n{"prompt": "b"}\n')
    with pytest.raises(RowError, match=r"line 1: the id '1' already has an answer in .*, to another prompt"):
        _answers(_mixture(loopback), rows, output=out)
    assert loopback.requests == []


def test_the_column_that_is_asked_may_be_named_like_a_field_of_the_output(loopback: Loopback, tmp_path: Path) -> None:
    rows = [{"id": 1, "answer": "a", "input_answer": "b"}, {"id": 2, "answer": "c"}]
    options = {"output": tmp_path / "out.jsonl", "prompt_field": "answer"}
    assert {answer.answer for answer in _answers(_mixture(loopback), rows, **options)} == {"last says: a", "last says: c"}
    assert _answers(_mixture(loopback), rows, **options) == []
    with pytest.raises(RowError, match=r"the id '1' already has an answer in .*, to another prompt"):
        _answers(_mixture(loopback), [{"id": 1, "answer": "z"}], **options)


def test_another_system_message_or_column_on_one_output_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    out, rows = tmp_path / "out.jsonl", [{"id": 1, "x": "a", "y": "b"}]
    assert len(_answers(_mixture(loopback), rows, output=out, system="Be brief.", prompt_field="x")) == 1
    with pytest.raises(BatchError, match=r"was started with another system message \(--system\); give another --output"):
        _answers(_mixture(loopback), rows, output=out, system="Be long.", prompt_field="x")
    with pytest.raises(BatchError, match="was started with another --prompt-field; give another --output"):
        _answers(_mixture(loopback), rows, output=out, system="Be brief.", prompt_field="y")
    assert _answers(_mixture(loopback), rows, output=out, system="Be brief.", prompt_field="x") == []


def test_two_names_of_one_output_are_one_output(loopback: Loopback, tmp_path: Path) -> None:
    out, link = tmp_path / "out.jsonl", tmp_path / "link.jsonl"
    out.touch()
    link.symlink_to(out)
    with BatchRun(_mixture(loopback), [], output=link), pytest.raises(BatchError, match="is in use by another run"):
        BatchRun(_mixture(loopback), [], output=out)
    assert len(_answers(_mixture(loopback), _prompts(2), output=link, ordered=True)) == 2
    assert link.is_symlink()
    assert len(_lines(out)) == 2
    with pytest.raises(BatchError, match="is the input; give another --output"):
        _answers(_mixture(loopback), link, output=out)
    with pytest.raises(BatchError, match="is a folder; give a file as --output"):
        _answers(_mixture(loopback), [], output=tmp_path)


def test_each_line_is_json_whatever_its_columns_are(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    columns = {"score": float("nan"), "all": [float("inf"), 1.5], "deep": {"x": -float("inf")}}
    _answers(_mixture(loopback), [{"prompt": "a", **columns}], output=out)
    assert "NaN" not in out.read_text()
    assert "Infinity" not in out.read_text()
    [line] = _lines(out)
    assert (line["score"], line["all"], line["deep"]) == (None, [None, 1.5], {"x": None})


def test_a_file_is_checked_before_anything_is_asked(loopback: Loopback, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}\n')
    with pytest.raises(RowError, match="line 2: the id 'x' is also in line 1"):
        _answers(_mixture(loopback), rows)
    rows.write_text('{"prompt": "a"}\n{"text": "b"}\n')
    with pytest.raises(RowError, match="line 2: no prompt"):
        _answers(_mixture(loopback), rows)
    rows.write_text("\n")
    with pytest.raises(RowError, match="has no rows"):
        _answers(_mixture(loopback), rows)
    assert loopback.requests == []


def test_of_an_iterable_only_the_row_that_cannot_be_asked_fails(loopback: Loopback) -> None:
    answers = {answer.id: answer for answer in _answers(_mixture(loopback), [{"prompt": "a"}, {"text": "b", "id": "z"}, "c"])}
    assert answers[1].answer == "last says: a"
    assert answers["z"].error == (
        "rows, item 2: no prompt: none of prompt, question, input, messages is a column; there are 'text', 'id'; choose one "
        "with --prompt-field"
    )
    assert answers[3].answer == "last says: c"


def test_rows_that_cannot_be_asked_have_one_line_and_end_no_run(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows = [*({"id": f"bad{number}", "text": "?"} for number in range(20)), {"id": "good", "prompt": "a"}]
    answers = _answers(_mixture(loopback), rows, output=out, concurrency=1)
    assert [answer.error is None for answer in answers] == [False] * 20 + [True]
    assert _answers(_mixture(loopback), rows, output=out, concurrency=1) == []
    assert len(_lines(out)) == 21
    assert len(_answers(_mixture(loopback), rows, output=out, retry_failed=True)) == 20
    assert len(_lines(out)) == 21
    # The number of a row without an id may be the id of another one.
    with pytest.raises(RowError, match="rows, item 2: no prompt"):
        _answers(_mixture(loopback), [{"id": 2, "prompt": "a"}, {"text": "?"}], output=tmp_path / "b.jsonl", concurrency=1)
    assert [line["error"] for line in _lines(tmp_path / "b.jsonl")] == [None]


def test_a_source_that_breaks_off_loses_no_answer(loopback: Loopback) -> None:
    def rows() -> Iterator[str]:
        yield "a"
        yield "b"
        msg = "the line is dead"
        raise OSError(msg)

    found = []

    async def collect() -> None:
        async for answer in batch_answers(_mixture(loopback), rows()):
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
        async with aclosing(batch_answers(_mixture(loopback), rows(), concurrency=3)) as answers:
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
    answers = _answers(_mixture(loopback), _prompts(60), concurrency=30)
    assert refused
    assert [answer.error for answer in answers] == [None] * 60
    assert [answer.degraded for answer in answers] == [()] * 60


def test_the_time_of_a_proposer_does_not_pass_while_its_provider_refuses_it(loopback: Loopback) -> None:
    refused = iter([True])
    loopback.script("a", lambda _: Reply(status=429, headers={"retry-after": "1.5"}) if next(refused, False) else "ok")
    [answer] = _answers(_mixture(loopback, proposer_timeout=1.0), ["Why?"], references=True)
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
    [answer] = _answers(Mixture(**given), ["Why?"])
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

    with BatchRun(_mixture(loopback), _prompts(5), output=out, concurrency=2) as run:
        assert asyncio.run(ended(run)) == []
    assert len(loopback.calls("a")) == 2
    assert out.read_text() == ""


def test_a_rate_limit_of_a_proposers_fallback_fails_no_row_either(loopback: Loopback) -> None:
    refused = iter([True] * 3)
    loopback.script("broken", Reply("no", status=400))
    loopback.script("other", lambda _: Reply(status=429, headers={"retry-after": "0"}) if next(refused, False) else "ok")
    proposer = Proposer(loopback.chat("broken"), fallbacks=[loopback.chat("other")])
    [answer] = _answers(_mixture(loopback, proposers=[proposer], retry=None), ["Why?"], references=True)
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
        async for answer in batch_answers(mixture, _prompts(10), output=out, max_cost_usd=2.05, concurrency=4):
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
    assert [answer.answer for answer in _answers(mixture, _prompts(2), output=out)] == ["so", "so"]
    assert _answers(mixture, _prompts(2), output=out) == []
    assert len(loopback.requests) == 4
    for line in out.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_price_that_is_not_known_refuses_the_limit(loopback: Loopback) -> None:
    with pytest.raises(ValueError, match=r"max_cost_usd cannot be kept: the price of .* is unknown"):
        _answers(_mixture(loopback), ["a"], max_cost_usd=1)


def test_a_key_that_has_expired_does_not_fail_a_million_rows(loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("*", Reply("expired", status=401))
    out = tmp_path / "out.jsonl"
    with pytest.raises(StoppedError, match="failed 8 times in a row, and the run was given up"):
        _answers(_mixture(loopback), _prompts(1000), output=out, concurrency=2)
    assert len(_lines(out)) <= 10
    assert len(loopback.requests) < 30


def test_it_takes_half_lines_for_rows_that_are_not_answered(loopback: Loopback, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    _answers(_mixture(loopback), _prompts(4), output=out, concurrency=1)
    first, second, third, fourth = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(first + second[:40] + b"\n" + third + fourth[:30])
    loopback.reset()
    assert {answer.id for answer in _answers(_mixture(loopback), _prompts(4), output=out)} == {"r1", "r3"}
    whole = [json.loads(line)["id"] for line in out.read_bytes().splitlines() if line != second[:40]]
    assert sorted(whole) == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize("content", [b"Dear diary,\n", b'{"id": 1, "text": "a"}\n', b"half a line", b"[1]\n"])
def test_a_file_of_another_kind_is_left_alone(loopback: Loopback, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(content)
    with pytest.raises(BatchError, match="give another --output"):
        _answers(_mixture(loopback), ["a"], output=out)
    assert out.read_bytes() == content
    (tmp_path / "b.jsonl.journal").write_bytes(b"no database" * 100)
    with pytest.raises(BatchError, match="is not a journal"):
        _answers(_mixture(loopback), ["a"], output=tmp_path / "b.jsonl")


def test_wrong_arguments_name_the_remedy(loopback: Loopback, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="concurrency is 0; it must be more than 0"):
        _answers(_mixture(loopback), ["a"], concurrency=0)
    with pytest.raises(ValueError, match="ordered needs an output file; give an output"):
        _answers(_mixture(loopback), ["a"], ordered=True)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n')
    with pytest.raises(BatchError, match=r"rows\.jsonl is the input; give another --output"):
        _answers(_mixture(loopback), rows, output=rows)
    assert rows.read_text() == '{"prompt": "a"}\n'


def test_conversations_and_system_messages_are_sent_as_they_are(loopback: Loopback) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Why?"}]
    _answers(_mixture(loopback), [{"messages": talk}], system="Be brief.")
    assert [message["content"] for message in loopback.calls("a")[0].messages] == ["Be brief.", "Hi", "Hello", "Why?"]
    assert len(loopback.requests) == 3


def test_a_run_that_asked_nothing_does_not_bind_the_next_one(loopback: Loopback, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.csv", tmp_path / "out.jsonl"
    with pytest.raises(RowError, match="does not exist"):
        _answers(_mixture(loopback), rows, output=out)
    assert list(tmp_path.iterdir()) == []
    rows.write_text("id,text\n1,a\n")
    with pytest.raises(RowError, match="choose one with --prompt-field"):
        _answers(_mixture(loopback), rows, output=out)
    other = _mixture(loopback, temperature=0.3)
    assert len(_answers(other, rows, output=out, prompt_field="text", system="Be brief.")) == 1
