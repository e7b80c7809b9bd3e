"""Every kind of fault at every call of a mixture of 3 x 2 + 1, sync and async: the right answer, or the right error."""

from __future__ import annotations

import random
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import AggregatorFailedError, ChatMoA, ProposersFailedError
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Loopback, Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LAYERS = [["1a", "1b", "1c"], ["2a", "2b", "2c"]]
AGGREGATOR = "agg"
SITES = [*LAYERS[0], *LAYERS[1], AGGREGATOR]

FAULTS: dict[str, Reply] = {
    "empty": Reply(""),
    "null": Reply(None),
    "whitespace": Reply(" \n\u200b"),
    "thoughts": Reply("<think>I wonder"),
    "refusal": Reply(None, refusal="I cannot."),
    "tool call": Reply(None, tool_calls=[ToolCall("search", {"q": "x"})]),
    "broken tool call": Reply(None, tool_calls=[ToolCall("search", "{no json")]),
    "filtered": Reply("half an ans", finish_reason="content_filter"),
    "filtered away": Reply("", finish_reason="content_filter"),
    "400": Reply("bad", status=400),
    "401": Reply("bad", status=401),
    "403": Reply("bad", status=403),
    "404": Reply("bad", status=404),
    "413": Reply("bad", status=413),
    "422": Reply("bad", status=422),
    "429": Reply("bad", status=429, headers={"retry-after": "60"}),
    "500": Reply("bad", status=500),
    "502": Reply("bad", status=502),
    "503": Reply("bad", status=503),
    "529": Reply("bad", status=529),
    "cut off": Reply("half an answer", drop=True),
    "hung up": Reply(drop=True, after_chunks=0),
    "no json": Reply(malformed=True),
    "no choices": Reply(no_choices=True),
}

# What an aggregator says in this way is its answer, as any model's would be. Streamed, `ChatOpenAI` loses a refusal.
ANSWERS = {"refusal": "", "tool call": "", "broken tool call": "", "filtered": "half an ans"}
LOST_IN_STREAMS = {"refusal"}


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


@pytest.fixture(scope="module")
def moa(server: Loopback) -> ChatMoA:
    proposers = [[server.chat(name) for name in layer] for layer in LAYERS]
    return ChatMoA(proposers=proposers, aggregator=server.chat(AGGREGATOR))


def good(layer: int, faults: Mapping[str, str]) -> list[str]:
    return [name for name in LAYERS[layer] if name not in faults]


def shown(names: list[str]) -> str:
    return "Responses from models:" + "".join(f"\n{number}. {name} says: Hi" for number, name in enumerate(names, start=1))


def check_layers(calls: list[list[dict[str, Any]]], faults: Mapping[str, str]) -> None:
    for layer, entries in zip(LAYERS, calls, strict=True):
        assert [entry["status"] for entry in entries] == ["failed" if name in faults else "ok" for name in layer]
        assert all(entry["error"]["message"] for entry in entries if entry["status"] == "failed")


async def check(server: Loopback, moa: ChatMoA, way: str, faults: Mapping[str, str]) -> None:
    """Ask with these faults, and hold what came of it against what has to come of it."""
    server.reset(scripts=True)
    for site, kind in faults.items():
        server.script(site, FAULTS[kind])
    first, second = good(0, faults), good(1, faults)
    answer, error = None, None
    try:
        answer = await ask(moa, way)
    except (ProposersFailedError, AggregatorFailedError) as raised:
        error = raised
    if not first:
        assert isinstance(error, ProposersFailedError)
        assert all(f"openai:{name}" in str(error) for name in LAYERS[0])
        assert sorted(server.models) == LAYERS[0]
        return
    assert sorted(server.models) == sorted(SITES)
    # Each layer, and the aggregator, was shown what was good, in the proposers' order, and nothing else.
    assert all(server.calls(name)[0].system.endswith(shown(first)) for name in LAYERS[1])
    assert server.calls(AGGREGATOR)[0].system.endswith(shown(second or first))
    fault = faults.get(AGGREGATOR)
    passes = fault in ANSWERS and not (fault in LOST_IN_STREAMS and "stream" in way)
    if fault is not None and not passes:
        assert isinstance(error, AggregatorFailedError), (answer, error)
        texts = [reference["text"] for reference in error.references if reference["status"] == "ok"]
        assert texts == [f"{name} says: Hi" for name in [*first, *second]]
        return
    assert answer is not None, error
    said = answer.response_metadata["moa"]
    check_layers(said["layers"], faults)
    assert said.get("fell_back") == (None if second else [2])
    assert answer.text == (ANSWERS[fault] if fault else "agg says: Hi")
    assert bool(said.get("degraded")) == bool(faults.keys() - {AGGREGATOR})


# A stream is the aggregator's; of a fault before it, it knows no more than an answer in one piece does.
ONE_FAULT = [*product(SITES, ["invoke", "ainvoke"]), *product([AGGREGATOR], ["stream", "astream"])]


@pytest.mark.parametrize(("site", "way"), ONE_FAULT)
async def test_one_fault(server: Loopback, moa: ChatMoA, site: str, way: str) -> None:
    for kind in FAULTS:
        await check(server, moa, way, {site: kind})


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("layer", [0, 1])
async def test_a_layer_with_one_fault_everywhere(server: Loopback, moa: ChatMoA, layer: int, way: str) -> None:
    for kind in FAULTS:
        await check(server, moa, way, dict.fromkeys(LAYERS[layer], kind))


@pytest.mark.parametrize(("way", "seed"), list(product(WAYS, range(5))))
async def test_many_faults_at_once(server: Loopback, moa: ChatMoA, seed: int, way: str) -> None:
    chance = random.Random(seed)  # noqa: S311  # the same faults every time
    for _ in range(8):
        sites = chance.sample(SITES, chance.randint(2, len(SITES)))
        await check(server, moa, way, {site: chance.choice(list(FAULTS)) for site in sites})
