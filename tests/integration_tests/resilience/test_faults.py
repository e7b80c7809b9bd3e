"""Every kind of fault at every call of a mixture of 3 x 2 + 1, sync and async, whatever its options: the right answer, or
the right error.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
from itertools import cycle, product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from allpairspy import AllPairs
from langchain_core.runnables import RunnableLambda

from langchain_moa import AggregatorFailedError, ChatMoA, Proposer, ProposersFailedError
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Loopback, Reply, ToolCall
from tests.time_limits import only_hanging_calls_time_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LAYERS = [["1a", "1b", "1c"], ["2a", "2b", "2c"]]
AGGREGATOR, STANDIN = "agg", "standin"
SITES = [*LAYERS[0], *LAYERS[1], AGGREGATOR]

AT_THE_SERVER: dict[str, Reply] = {
    "empty": Reply(""),
    "null": Reply(None),
    "whitespace": Reply(" \n\u200b"),
    "thoughts": Reply("<think>I wonder", finish_reason="length"),
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
    "repeats the key": Reply("you sent Bearer test-key-0123456789", status=401),
    "no json": Reply(malformed=True),
    "no choices": Reply(no_choices=True),
}

# Faults that occur once, followed by an answer.
ONCE: dict[str, Reply] = {
    "429 once": Reply("bad", status=429, headers={"retry-after": "0"}),
    "500 once": Reply("bad", status=500),
    "cut off once": Reply("half an answer", drop=True),
    "hung up once": Reply(drop=True, after_chunks=0),
}
INSIDE: dict[str, type[BaseException] | BaseException] = {
    "a bug": ZeroDivisionError,
    "cancels itself": asyncio.CancelledError,
    "no such host": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "a full disk": OSError(errno.ENOSPC, "No space left on device"),
    "no TLS": ssl.SSLCertVerificationError(1, "self-signed certificate"),
    "too many files": OSError(errno.EMFILE, "Too many open files"),
}
REFUSED = "refused"
HANGS = "hangs"
# Answers that lack something, and are answers all the same.
INCOMPLETE: dict[str, dict[str, Any]] = {
    "cut at max_tokens": {"finish_reason": "length"},
    "no finish reason": {"finish_reason": ""},
    "no usage": {"usage": None},
}
FAULTS = [*AT_THE_SERVER, *ONCE, *INSIDE, REFUSED, *INCOMPLETE, HANGS]
# Faults that a mixture treats alike take turns in the tests of pairs.
ALIKE = {
    "400": cycle(["400", "401", "403", "404", "413", "422"]),
    "500": cycle(["500", "502", "503", "529"]),
}
IN_PAIRS = [*(fault for fault in FAULTS if not fault.isdigit() or fault in {*ALIKE, "429"})]

# These are an aggregator's answer, as they would be any model's. When streaming, `ChatOpenAI` drops a refusal.
ANSWERS = {"refusal": "", "tool call": "", "broken tool call": "", "filtered": "half an ans"}
# Faults after words of the answer: once they are streamed, no other attempt can follow.
WORDS = {"cut off", "cut off once", "filtered"}
# Faults that are retried; the 429 asks for a wait longer than any limit.
PASSING = {"500", "502", "503", "529", "cut off", "hung up", *ONCE}

# A time limit that must not be reached is an hour.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "retry": {"retry": {"attempts": 2, "initial": 0}},
    "quorum": {"quorum": 2, "quorum_grace": 3600},
    "deadline": {"deadline": 3600},
    "fallbacks": {},
}
# If a call hangs, the option that ends it. For other options, it is the proposer's own time limit.
SOON = {"quorum": "quorum_grace", "deadline": "deadline"}


class Local:
    """A member in this process that answers without a server, or raises."""

    def __init__(self, name: str, error: type[BaseException] | BaseException | None = None) -> None:
        self.name = name
        self._error = error

    def __call__(self, messages: Any) -> str:
        if self._error is not None:
            raise self._error
        return f"{self.name} says: Hi"

    async def soon(self, messages: Any) -> str:
        return self(messages)

    @property
    def member(self) -> Proposer:
        return Proposer(RunnableLambda(self, self.soon), name=self.name)


class Case:
    """A mixture with these options and with these faults at these sites, and the expected outcome."""

    def __init__(self, way: str, options: str, faults: Mapping[str, str]) -> None:
        self.streams = "stream" in way
        self.options = options
        self.faults = faults
        self.fault = faults.get(AGGREGATOR)
        self.hanging = [site for site, fault in faults.items() if fault == HANGS and site != AGGREGATOR]
        self.has_limit = HANGS in faults.values()

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for cases that the same mixture can serve, since only the server's behavior differs."""
        made = {*INSIDE, REFUSED, HANGS}
        return self.options, *(fault if (fault := self.faults.get(site)) in made else "" for site in SITES)

    def moa(self, server: Loopback, limit: float) -> ChatMoA:
        """Make the mixture; hanging calls have this number of seconds."""
        options = dict(OPTIONS[self.options])
        if self.hanging:
            options[SOON.get(self.options, "proposer_timeout")] = limit
        if self.options == "fallbacks":
            options["aggregator_fallbacks"] = [server.chat(STANDIN)]
        proposers = [[self._member(server, name, limit) for name in layer] for layer in LAYERS]
        return ChatMoA(proposers=proposers, aggregator=self._member(server, AGGREGATOR, limit), **options)

    def _member(self, server: Loopback, site: str, limit: float) -> Any:
        fault = self.faults.get(site)
        if fault in INSIDE:
            return Local(site, INSIDE[fault]).member
        if fault == REFUSED:
            return server.chat(site, base_url=f"http://127.0.0.1:{closed_port()}/v1")
        if self.hanging and fault is None and site != AGGREGATOR:
            return Local(site).member
        # An aggregator is limited only by a deadline and by its own client.
        return server.chat(site, timeout=limit) if fault == HANGS and site == AGGREGATOR else server.chat(site)

    def script(self, server: Loopback) -> None:
        server.reset(scripts=True)
        for site, fault in self.faults.items():
            if fault == HANGS:
                server.script(site, Reply(hang=True))
            elif fault in ONCE:
                server.script(site, [ONCE[fault], Reply(f"{site} says: Hi")])
            elif fault in INCOMPLETE:
                server.script(site, Reply(f"{site} says: Hi", **INCOMPLETE[fault]))
            elif fault in AT_THE_SERVER:
                server.script(site, AT_THE_SERVER[fault])

    def fails(self, site: str) -> bool:
        """Whether a proposer gives no good answer."""
        fault = self.faults.get(site)
        return fault is not None and fault not in INCOMPLETE and not (fault in ONCE and self.options == "retry")

    def good(self, layer: int) -> list[str]:
        return [name for name in LAYERS[layer] if not self.fails(name)]

    def statuses(self, layer: int) -> list[str]:
        failed = "late" if self.hanging and self.options in SOON else "failed"
        return [failed if name in self.hanging else "failed" if self.fails(name) else "ok" for name in LAYERS[layer]]

    def calls(self, site: str) -> int | None:
        """The number of calls of a site that the server must have received; `None` if the site is in this process."""
        fault = self.faults.get(site)
        if fault in {*INSIDE, REFUSED} or (self.hanging and fault is None and site != AGGREGATOR):
            return None
        is_passing = fault in PASSING or (fault == HANGS and site == AGGREGATOR)
        return 2 if is_passing and self.options == "retry" and not (site == AGGREGATOR and self._is_out) else 1

    @property
    def _is_out(self) -> bool:
        return self.streams and self.fault in WORDS

    @property
    def answer(self) -> str | None:
        """The text of the answer; `None` for an error."""
        if (
            self.fault is None
            or self.fault in INCOMPLETE
            or (self.fault in ONCE and self.options == "retry" and not self._is_out)
        ):
            return f"{AGGREGATOR} says: Hi"
        is_lost = self.fault == "refusal" and self.streams
        if self.options == "fallbacks" and not self._is_out and (self.fault != "refusal" or is_lost):
            return f"{STANDIN} says: Hi"
        return None if is_lost else ANSWERS.get(self.fault)

    @property
    def is_degraded(self) -> bool:
        is_cut = self.fault == "cut at max_tokens" or (self.fault == "no finish reason" and self.streams)
        return is_cut or any(map(self.fails, self.faults))


class Bench(NamedTuple):
    """The server and the mixtures made so far, since making a mixture takes as long as asking it."""

    server: Loopback
    moas: dict[tuple[float | str, ...], ChatMoA]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def shown(names: list[str]) -> str:
    return "Responses from models:" + "".join(f"\n{number}. {name} says: Hi" for number, name in enumerate(names, start=1))


async def check(bench: Bench, way: str, options: str, faults: Mapping[str, str]) -> None:
    """Ask with these faults, and compare the outcome with the expected one."""
    case, server = Case(way, options, faults), bench.server

    async def attempt(limit: float) -> Any:
        case.script(server)
        key = (*case.key, limit if case.has_limit else "")
        if key not in bench.moas:
            bench.moas[key] = case.moa(server, limit)
        return await ask(bench.moas[key], way)

    first, second = case.good(0), case.good(1)
    reached = case.hanging if first else [site for site in case.hanging if site in LAYERS[0]]
    hanging = {site: case.calls(site) or 0 for site in reached}
    fails = not first or case.answer is None
    outcome, _ = await only_hanging_calls_time_out(server, attempt, hanging, fails=fails)
    answer, error = (None, outcome) if isinstance(outcome, Exception) else (outcome, None)
    asked = SITES if first else LAYERS[0]
    expected = {site: count for site in asked if (count := case.calls(site)) is not None}
    if case.answer == f"{STANDIN} says: Hi" and first:
        expected[STANDIN] = 1
    assert {site: len(server.calls(site)) for site in {*server.models}} == expected
    if not first:
        assert isinstance(error, ProposersFailedError)
        assert all(f"proposer {number}, " in str(error) for number in (1, 2, 3))
        return
    # Each layer and the aggregator were shown exactly the good references, in the proposers' order.
    assert all(call.system.endswith(shown(first)) for name in LAYERS[1] for call in server.calls(name))
    assert all(call.system.endswith(shown(second or first)) for name in (AGGREGATOR, STANDIN) for call in server.calls(name))
    if case.answer is None:
        assert isinstance(error, AggregatorFailedError), answer
        texts = [reference["text"] for reference in error.references if reference["status"] == "ok"]
        assert texts == [f"{name} says: Hi" for name in [*first, *second]]
        return
    assert answer is not None, error
    said = answer.response_metadata["moa"]
    assert [[entry["status"] for entry in layer] for layer in said["layers"]] == [case.statuses(0), case.statuses(1)]
    assert all(entry["error"]["message"] for layer in said["layers"] for entry in layer if entry["status"] != "ok")
    assert said.get("fell_back") == (None if second else [2])
    assert answer.text == case.answer
    assert bool(said.get("degraded")) == case.is_degraded


def pairs(**factors: Sequence[Any]) -> dict[Any, list[tuple[str, str]]]:
    """Return, for each first factor, each fault with options such that all options meet all faults and all sites."""
    rows: dict[Any, list[tuple[str, str]]] = {}
    for where, fault, options in AllPairs([*factors.values()], filter_func=ends):
        rows.setdefault(where, []).append((next(ALIKE[fault]) if fault in ALIKE else fault, options))
    return rows


def ends(row: list[Any]) -> bool:
    """Skip cases that wait forever: a layer whose proposers all hang never reaches a quorum."""
    return not (len(row) == 3 and row[1] == HANGS and row[2] in SOON and row[0][0] in {0, 1})


# Only the aggregator streams; faults before it look the same as without streaming.
ONE_FAULT = pairs(
    where=[*product(SITES, ["invoke", "ainvoke"]), *product([AGGREGATOR], ["stream", "astream"])],
    fault=IN_PAIRS,
    options=[*OPTIONS],
)
A_LAYER = pairs(where=[*product([0, 1], ["invoke", "ainvoke"])], fault=IN_PAIRS, options=[*OPTIONS])


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Loopback() as server:
        yield Bench(server, {})


@pytest.mark.parametrize(("site", "way"), ONE_FAULT)
async def test_one_fault(bench: Bench, site: str, way: str) -> None:
    for fault, options in ONE_FAULT[site, way]:
        await check(bench, way, options, {site: fault})


@pytest.mark.parametrize("way", WAYS)
async def test_an_aggregator_that_breaks_off(bench: Bench, way: str) -> None:
    """Once words are streamed, no other attempt can follow; otherwise the next attempt or the next member answers."""
    for fault, options in product([*sorted(WORDS), "refusal"], ["retry", "fallbacks"]):
        await check(bench, way, options, {AGGREGATOR: fault})


@pytest.mark.parametrize(("layer", "way"), A_LAYER)
async def test_a_layer_with_one_fault_everywhere(bench: Bench, layer: int, way: str) -> None:
    for fault, options in A_LAYER[layer, way]:
        await check(bench, way, options, dict.fromkeys(LAYERS[layer], fault))


@pytest.mark.parametrize(("way", "seed"), list(product(WAYS, range(2))))
async def test_many_faults_at_once(bench: Bench, seed: int, way: str) -> None:
    chance = random.Random(seed)  # noqa: S311  # the same faults every time
    for options in [*OPTIONS] * 2:
        sites = chance.sample(SITES, chance.randint(2, len(SITES)))
        await check(bench, way, options, {site: chance.choice(FAULTS[:-1]) for site in sites})
