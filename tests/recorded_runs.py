"""Recorded runs for tests: an ordinary one, and Hypothesis strategies for any runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from langchain_moa.runs import AttemptRecord, CallRecord, MessageRecord, MoARun
from langchain_moa.runs.outline import Outline, OutlinedEdge, OutlinedNode

# Only what JSON supports: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.floats(0, 1e9, allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
mappings = st.dictionaries(texts, values, max_size=2)
failures = st.none() | st.fixed_dictionaries({"kind": texts, "message": texts})
messages = st.builds(
    MessageRecord,
    type=texts,
    content=texts | st.lists(values, max_size=2),
    name=st.none() | texts,
    tool_calls=st.lists(values, max_size=1),
    tool_call_id=st.none() | texts,
)
attempts = st.builds(
    AttemptRecord,
    started=numbers,
    first_token=st.none() | numbers,
    done=st.none() | numbers,
    status=st.sampled_from(["ok", "failed", "cancelled"]),
    error=failures,
)


def _calls(runs: st.SearchStrategy[list[MoARun]]) -> st.SearchStrategy[CallRecord]:
    return st.builds(
        CallRecord,
        node=texts,
        role=st.sampled_from(["proposer", "aggregator", "step"]),
        layer=st.none() | st.integers(1, 3),
        proposer=st.none() | st.integers(1, 3),
        name=texts,
        model=texts,
        queued=st.none() | numbers,
        first_token=st.none() | numbers,
        done=st.none() | numbers,
        seconds=st.none() | numbers,
        attempts=st.lists(attempts, max_size=2),
        hides_attempts=st.booleans(),
        status=st.sampled_from(["ok", "failed", "late", "cancelled"]),
        error=failures,
        kept=st.none() | st.booleans(),
        text=texts,
        shown_as=st.none() | texts,
        usage=st.none() | mappings,
        cost_usd=st.none() | numbers,
        prompt=st.lists(messages, max_size=2),
        settings=mappings,
        runs=runs,
    )


def _runs(calls: st.SearchStrategy[CallRecord]) -> st.SearchStrategy[MoARun]:
    return st.builds(
        MoARun,
        id=texts,
        started=st.datetimes(timezones=st.just(UTC)),
        seconds=numbers,
        status=st.sampled_from(["ok", "failed", "cancelled", "interrupted"]),
        error=failures,
        question=st.lists(messages, max_size=2),
        answer=st.none() | messages,
        calls=st.lists(calls, max_size=3),
        read=st.none() | st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=2),
        outcome=mappings,
        mixture=st.none() | mappings,
        config=st.none() | mappings,
        parameters=mappings,
        graph=st.none() | st.just(a_graph()),
        versions=st.dictionaries(texts, texts, max_size=2),
    )


def a_graph() -> Outline:
    proposer = OutlinedNode(
        id="layer_1_proposer_1", name="layer_1_proposer_1", metadata={"layer": 1, "proposer": 1, "name": "p"}
    )
    merge = OutlinedNode(id="merge_1", name="merge_1", metadata={"layer": 1})
    return Outline(nodes=[proposer, merge], edges=[OutlinedEdge(source=proposer.id, target=merge.id)])


any_run = _runs(_calls(st.lists(_runs(_calls(st.just([]))), max_size=1)))
"""Any run, with runs inside of calls."""


def a_call(text: str = "Bees make honey.", *, layer: int | None = 1, proposer: int | None = 1, **changes: Any) -> CallRecord:
    role = "aggregator" if layer is None else "proposer"
    node = "aggregator" if layer is None else f"layer_{layer}_proposer_{proposer}"
    fields: dict[str, Any] = {
        "node": node,
        "role": role,
        "layer": layer,
        "proposer": None if layer is None else proposer,
        "name": f"model {proposer}" if layer is not None else "writer",
        "model": "test:model",
        "queued": 0.1,
        "done": 0.9,
        "seconds": 0.8,
        "attempts": [AttemptRecord(started=0.2, first_token=0.4, done=0.9, status="ok")],
        "status": "ok",
        "text": text,
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        "cost_usd": 0.001,
        "prompt": [MessageRecord(type="human", content="What do bees make?")],
    }
    return CallRecord(**{**fields, **changes})


def a_run(*calls: CallRecord, answer: str | None = "Bees make honey.", **changes: Any) -> MoARun:
    fields: dict[str, Any] = {
        "id": "run-1",
        "started": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "seconds": 2.0,
        "status": "ok",
        "question": [MessageRecord(type="human", content="What do bees make?")],
        "answer": None if answer is None else MessageRecord(type="ai", content=answer),
        "calls": list(calls) or [a_call(), a_call(answer or "", layer=None, queued=1.0, done=2.0)],
        "graph": a_graph(),
        "config": {"proposers": ["test:model"], "aggregator": "test:model"},
        "mixture": {"num_layers": 1},
        "versions": {"python": "3.11"},
    }
    return MoARun(**{**fields, **changes})
