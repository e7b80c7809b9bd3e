"""All pairs of options, surfaces and modes, and the properties that hold for each of them at the wire."""

from __future__ import annotations

import asyncio
import gc
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from allpairspy import AllPairs

from tests.integration_tests.matrix.agent_server import agent_server
from tests.integration_tests.matrix.panel import FAILURE, behave, decides, references_in
from tests.integration_tests.matrix.surfaces import QUESTION, SYSTEM, Outcome, Surfaces, fields
from tests.loopback import Loopback
from tests.loopback.fixtures import forget_clients
from tests.loopback.reply import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_sdk.client import SyncLangGraphClient

    from tests.loopback.recorded import Recorded

pytestmark = [
    # Warnings about the clients that LangChain keeps for models given as strings, which are never closed.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
]

VERIFIED = {"verified": {"check": f"{Path(__file__).with_name('checks.py')}:by_the_aggregator"}}
FACTORS: dict[str, list[Any]] = {
    "surface": ["graph", "subgraph", "chat_model", "nested_chat_model", "agent", "command_line", "endpoint", "agent_server"],
    "mode": ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"],
    "remember": [False, True],
    "aggregation": [
        "synthesize",
        "select",
        "consistent",
        "vote",
        "medoid",
        "analyze",
        "rank",
        {"sequential": {"window": 2}},
        VERIFIED,
    ],
    "reference_filters": [
        [],
        ["duplicates"],
        [{"diverse": {"keep": 2}}],
        ["outliers"],
        ["judge"],
        ["moderator"],
        ["shuffled"],
        ["shuffled", {"diverse": {"keep": 2}}],
    ],
    "stop_when": [None, "agreement", "moderator", "residual", {"residual": {"similarity": "lexical"}}],
    "prompt": ["paper", "hardened", "Use these.", "blind"],
    "references_at": ["system", "end"],
    "quorum": [None, 2, 0.5],
}
STATEFUL = {"graph", "subgraph", "agent", "agent_server"}
MODES = {"command_line": {"invoke"}, "endpoint": {"ainvoke", "astream"}, "agent_server": {"invoke", "stream"}}
ANSWERS_WITH_A_REFERENCE = {"select", "consistent", "vote", "medoid"}


def possible(row: list[Any]) -> bool:
    """Skip combinations that do not exist: the command line has one mode, a chat model has no checkpointer."""
    case = dict(zip(FACTORS, row, strict=False))
    surface, mode = case["surface"], case.get("mode")
    if mode is not None and mode not in MODES.get(surface, FACTORS["mode"]):
        return False
    return not case.get("remember") or surface in STATEFUL


CASES = {
    f"case_{number:03}": dict(zip(FACTORS, row, strict=True))
    for number, row in enumerate(AllPairs(list(FACTORS.values()), filter_func=possible))
}


def ends_when_decided(case: dict[str, Any]) -> bool:
    """Return whether the case cancels calls that cannot change a vote."""
    return bool(case["aggregation"] == "vote" and case["stop_when"] == "agreement")


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the case's mixture, without its members."""
    options = {key: case[key] for key in ("aggregation", "reference_filters", "stop_when", "prompt", "references_at", "quorum")}
    return {key: value for key, value in options.items() if value is not None}


@pytest.fixture(scope="module")
def models() -> Iterator[Loopback]:
    """The models of all cases, at one address that the Agent Server gets when it starts."""
    with Loopback() as server:
        yield server


@pytest.fixture
def loopback(models: Loopback, name: str) -> Loopback:
    models.settle()
    models.reset(scripts=True)
    behave(models, agree=not ends_when_decided(CASES[name]))
    return models


@pytest.fixture(scope="module")
def client(models: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncLangGraphClient]:
    """An Agent Server with the mixtures of its cases."""
    served = {name: fields(**options_of(case)) for name, case in CASES.items() if case["surface"] == "agent_server"}
    with agent_server(tmp_path_factory.mktemp("agent_server"), served, models_at=models.url) as client:
        yield client


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop for all cases, since LangChain shares the providers' clients, which keep their connections."""
    with asyncio.Runner() as runner:
        yield runner
    forget_clients()
    gc.collect()


@pytest.fixture(autouse=True)
def _at_the_loopback(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)


@pytest.mark.parametrize("name", CASES)
def test_what_always_holds(
    name: str, loopback: Loopback, tmp_path: Path, loop: asyncio.Runner, request: pytest.FixtureRequest
) -> None:
    case, surfaces = CASES[name], Surfaces(loop.run, tmp_path)

    def ask() -> Outcome:
        if case["surface"] != "agent_server":
            return asked(case, surfaces)
        client = request.getfixturevalue("client")
        return surfaces.on_the_agent_server(client, name, case["mode"], remember=case["remember"])

    outcome = ask()
    requests = loopback.settle()
    nobody_reads_of_a_failure(requests)
    the_users_messages_are_intact(requests, case)
    if case["prompt"] == "blind":
        only_the_aggregator_sees_references(requests, case)
    else:
        every_reader_sees_the_same_references_in_order(requests, case)
    it_answers_once(outcome, requests, case)
    the_account_is_right(outcome, requests, case)

    loopback.reset()
    again = ask()
    assert again.text == outcome.text
    assert sorted(map(prompt_of, loopback.settle())) == sorted(map(prompt_of, requests))


def asked(case: dict[str, Any], surfaces: Surfaces) -> Outcome:
    options, surface = options_of(case), case["surface"]
    if surface == "command_line":
        return surfaces.on_the_command_line(options)
    if surface in STATEFUL:
        stateful = {"graph": surfaces.in_graph, "subgraph": surfaces.in_subgraph, "agent": surfaces.in_agent}
        return stateful[surface](options, case["mode"], remember=case["remember"])
    others = {
        "chat_model": surfaces.in_chat_model,
        "nested_chat_model": surfaces.in_nested_chat_model,
        "endpoint": surfaces.at_the_endpoint,
    }
    return others[surface](options, case["mode"])


def nobody_reads_of_a_failure(requests: list[Recorded]) -> None:
    assert any(request.model == "broken" for request in requests)
    assert not any(FAILURE in str(request.body) for request in requests)


def the_users_messages_are_intact(requests: list[Recorded], case: dict[str, Any]) -> None:
    for request in requests:
        if decides(request):
            assert QUESTION in request.user
        else:
            # The outer mixture of a nested one has them in the system message.
            shows = case["references_at"] == "end" and request.model != "outer" and references_in(request)
            assert request.user.startswith(f"{QUESTION}\n\n") if shows else request.user == QUESTION
            assert request.system.startswith(SYSTEM)


def every_reader_sees_the_same_references_in_order(requests: list[Recorded], case: dict[str, Any]) -> None:
    proposing = [request for request in requests if request.model in {"p1", "p2", "p3"} and not decides(request)]
    first = [request for request in proposing if not references_in(request)]
    assert sorted(request.model for request in first) == ["p1", "p2", "p3"]
    second = [request for request in proposing if references_in(request)]
    assert sorted(request.model for request in second) in ([], ["p1", "p2", "p3"])
    for layer, readers in ((first, second), (second, [])):
        shown = {tuple(references_in(request)) for request in readers}
        assert len(shown) <= 1
        for references in shown:
            kept_of(layer, list(references), case)
    writing = [request for request in requests if request.model == "agg" and references_in(request)]
    for request in writing:
        told = [text for text in references_in(request) if not text.startswith("agg")]
        given = kept_of(second or first, told, case, order=case["aggregation"] != "rank", all_of_them=len(writing) == 1)
        assert given


def only_the_aggregator_sees_references(requests: list[Recorded], case: dict[str, Any]) -> None:
    proposing = [request for request in requests if request.model in {"p1", "p2", "p3"} and not decides(request)]
    assert not any(references_in(request) for request in proposing)
    asked = Counter(request.model for request in proposing)
    assert asked in (Counter(p1=1, p2=1, p3=1), Counter(p1=2, p2=2, p3=2))
    good = [text_of(request) for request in sorted(proposing, key=lambda request: request.model)]
    writing = [request for request in requests if request.model == "agg" and references_in(request)]
    for request in writing:
        told = [text for text in references_in(request) if not text.startswith("agg")]
        assert told
        assert not Counter(told) - Counter(good)
        if case["reference_filters"] in ([], ["judge"]) and len(writing) == 1:
            assert Counter(told) == Counter(good)


def kept_of(
    layer: list[Recorded], told: list[str], case: dict[str, Any], *, order: bool = True, all_of_them: bool = True
) -> list[str]:
    """Compare the references that a reader was shown with the answers of the layer."""
    good = [text_of(request) for request in sorted(layer, key=lambda request: request.model)]
    assert len(told) == len(set(told))
    assert set(told) <= set(good)
    if case["reference_filters"] in ([], ["judge"]) and all_of_them:
        assert set(told) == set(good)
    if order and "shuffled" not in case["reference_filters"]:
        assert told == [text for text in good if text in told]
    return told


def it_answers_once(outcome: Outcome, requests: list[Recorded], case: dict[str, Any]) -> None:
    answers = {text_of(request) for request in requests if request.model != "broken" and not decides(request)}
    assert outcome.text in answers
    if case["surface"] == "nested_chat_model":
        assert outcome.text == "outer (1 read) says 42"
    elif str(case["aggregation"]) in ANSWERS_WITH_A_REFERENCE:
        assert outcome.text.startswith("p")
    else:
        assert outcome.text.startswith("agg")
    if outcome.streamed is not None:
        assert "".join(outcome.streamed) == outcome.text
    if outcome.state:
        assert [message.text for message in outcome.state["messages"][-2:]] == [QUESTION, outcome.text]


def the_account_is_right(outcome: Outcome, requests: list[Recorded], case: dict[str, Any]) -> None:
    good = [request for request in requests if request.model != "broken"]
    if outcome.moa is not None and case["surface"] != "nested_chat_model" and case["aggregation"] is VERIFIED:
        assert outcome.moa["verified"] is True
        assert outcome.moa["check"] == {"passed": True, "said": ""}
    if outcome.moa is not None and case["surface"] != "nested_chat_model":
        assert outcome.moa["calls"] == len(requests)
    if outcome.tokens is not None and case["surface"] not in {"graph", "subgraph", "agent_server"}:
        assert outcome.tokens == sum(usage_of(request) for request in good)


def text_of(request: Recorded) -> str:
    assert request.reply is not None
    return str(request.reply.text)


def usage_of(request: Recorded) -> int:
    assert request.reply is not None
    assert isinstance(request.reply.usage, Usage)
    return request.reply.usage.prompt + request.reply.usage.completion


def prompt_of(request: Recorded) -> str:
    """Return what was sent, without the hardened prompt's tag, which differs in every call."""
    return request.model + re.sub(r"draft [0-9a-f]{12}", "draft", str(request.body))
