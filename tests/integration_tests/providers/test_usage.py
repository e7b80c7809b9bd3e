"""Token counts, ids and sizes in the metadata of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.tracers.base import BaseTracer
from pydantic import ValidationError

from langchain_moa import AggregatorFailedError, ChatMoA, create_moa
from langchain_moa.serving import make_app
from tests.providers import PROVIDERS, Answer, Call, member
from tests.providers.asking import ask, multiply
from tests.providers.mixing import ask_once, tokens_of, usage_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.tracers.schemas import Run

    from tests.providers import ProviderServer

HI: list[BaseMessage] = [HumanMessage("Hi")]


def mixture(providers: ProviderServer, aggregator: str = "openai", **options: Any) -> ChatMoA:
    proposers = [member(providers, "ollama"), member(providers, "mistral")]
    return ChatMoA(proposers=proposers, aggregator=member(providers, aggregator), **{"num_layers": 2, **options})


def summed(providers: ProviderServer, since: int = 0) -> tuple[int, int]:
    calls = [request.tokens or (0, 0) for request in providers.requests[since:]]
    return sum(given for given, _ in calls), sum(written for _, written in calls)


@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("aggregator", PROVIDERS)
async def test_usage_is_the_aggregators_and_the_sum_is_beside_it(providers: ProviderServer, aggregator: str, mode: str) -> None:
    answer = await ask(mixture(providers, aggregator), HI, mode)
    assert usage_problems(answer, [request.tokens or (0, 0) for request in providers.requests]) == []


@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("aggregation", ["vote", "medoid"])
async def test_a_chosen_reference_reports_its_own_call(providers: ProviderServer, aggregation: str, mode: str) -> None:
    providers.script("qwen3:8b", "It is 42.")
    providers.script("mistral-large-2512", "It is 42, as everybody knows.")
    proposers = [member(providers, "ollama"), member(providers, "mistral")]
    moa = ChatMoA(proposers=proposers, aggregation=aggregation, num_layers=1)
    answer = await ask(moa, HI, mode)
    chosen = next(request for request in providers.requests if request.answer and request.answer.text == answer.text)
    assert tokens_of(answer.usage_metadata) == chosen.tokens
    assert tokens_of(answer.response_metadata["moa"].get("usage")) == summed(providers)


async def test_the_cost_of_all_calls_is_in_the_account(providers: ProviderServer) -> None:
    proposers = [member(providers, "openai"), member(providers, "openai")]
    answer = await ask(ChatMoA(proposers=proposers, aggregator=member(providers, "openai"), num_layers=1), HI, "invoke")
    given, written = summed(providers)
    assert answer.response_metadata["moa"]["cost_usd"] == pytest.approx(
        (2.0 * given + 8.0 * written) / 1e6
    )  # the prices of gpt-4.1 in US dollars


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_endpoint_reports_the_aggregators_call(providers: ProviderServer, *, stream: bool) -> None:
    body: dict[str, Any] = {"model": "moa", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    app = make_app(mixture(providers))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://moa") as client:
        answer = await client.post("/v1/chat/completions", json=body, timeout=None)
    assert answer.status_code == 200, answer.text
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    told = httpx.Response(200, text=events[-1]).json() if stream else answer.json()
    last = providers.requests[-1].tokens
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == last
    given, written = summed(providers)
    assert str(given) in str(told["moa"]["usage"])
    assert str(written) in str(told["moa"]["usage"])


class Tree(BaseTracer):
    """Records the runs that a caller sees."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


def leaves(runs: Sequence[Run]) -> list[tuple[int, int] | None]:
    """Return the tokens of the model runs without nested model runs."""
    found: list[tuple[int, int] | None] = []
    for run in runs:
        inside = leaves(run.child_runs)
        if not inside and run.run_type in {"llm", "chat_model"}:
            message: Any = (run.outputs or {})["generations"][0][0]["message"]
            inside = [tokens_of(message.get("kwargs", message).get("usage_metadata"))]
        found += inside
    return found


async def test_the_leaves_of_a_trace_add_up_to_each_call_once(providers: ProviderServer) -> None:
    tree = Tree()
    mixture(providers).invoke(HI, config={"callbacks": [tree]})
    assert sorted(map(str, leaves(tree.roots))) == sorted(str(request.tokens) for request in providers.requests)


async def test_counters_by_model_see_every_call(providers: ProviderServer) -> None:
    counter = UsageMetadataCallbackHandler()
    mixture(providers, "anthropic").invoke(HI, config={"callbacks": [counter]})
    for model in ("qwen3:8b", "mistral-large-2512", "claude-sonnet-4-6"):
        calls = [request.tokens or (0, 0) for request in providers.calls(model)]
        assert tokens_of(counter.usage_metadata[model]) == (sum(a for a, _ in calls), sum(b for _, b in calls))


async def test_summarization_looks_at_the_conversation_and_not_at_the_sum(providers: ProviderServer) -> None:
    providers.script("gpt-4.1-nano", "A SUMMARY")
    shown = member(providers, "openai", profile={"max_input_tokens": 400})
    moa = ChatMoA(proposers=[member(providers, "ollama"), member(providers, "mistral")], aggregator=shown, num_layers=2)
    summary = SummarizationMiddleware(
        model=member(providers, "openai", model="gpt-4.1-nano"), trigger=("tokens", 150), keep=("messages", 1)
    )
    agent: Any = create_agent(moa, [], middleware=[summary])
    messages: list[Any] = []
    for turn in range(3):
        state = agent.invoke({"messages": [*messages, HumanMessage(f"Question {turn}")]})
        messages = state["messages"]
    assert not providers.calls("gpt-4.1-nano")
    assert len(messages) == 6


@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("aggregator", ["openai", "anthropic", "responses", "mistral", "gemini"])
async def test_a_server_that_sends_one_id_each_time(providers: ProviderServer, aggregator: str, mode: str) -> None:
    proposers = [member(providers, "ollama"), member(providers, "groq")]
    moa = ChatMoA(proposers=proposers, aggregator=member(providers, aggregator), num_layers=1)
    graph: Any = create_moa(proposers=moa.proposers, aggregator=moa.aggregator, num_layers=1).compile()
    aggregating = providers_model(providers, aggregator)
    number = 0

    def same_id(_: Any) -> Answer:
        nonlocal number
        number += 1
        return Answer(text=f"Answer {number}.", id={"anthropic": "msg_1", "responses": "resp_1"}.get(aggregator, "chatcmpl-1"))

    providers.script(aggregating, same_id)
    messages: list[Any] = []
    for turn in range(1, 4):
        messages.append(HumanMessage(f"Question {turn}"))
        state = await graph.ainvoke({"messages": messages}) if mode.startswith("a") else graph.invoke({"messages": messages})
        messages = state["messages"]
        assert messages[-1].text == f"Answer {turn}."
        assert len(messages) == 2 * turn
    ids = [message.id for message in messages]
    assert len(set(ids)) == len(ids)
    chat = [await ask(moa, HI, mode) for _ in range(2)]
    assert chat[0].id != chat[1].id
    assert all("moa" in answer.response_metadata for answer in chat)


def providers_model(providers: ProviderServer, provider: str) -> str:
    """Return the model id that a provider's member sends."""
    member(providers, provider).invoke("Hi")
    model = providers.requests[-1].model
    providers.requests.clear()
    return model


ODD: dict[str, dict[str, Any]] = {
    "words": {"prompt_tokens": "many", "completion_tokens": 3, "total_tokens": "many"},
    "floats": {"prompt_tokens": 3.5, "completion_tokens": 2.0, "total_tokens": 5.5},
    "null details": {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": None,
        "completion_tokens_details": {"reasoning_tokens": None},
    },
    "null counts": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    "nothing": {},
    "negative": {"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -2},
}


@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", ["proposer", "aggregator"])
async def test_a_token_count_that_is_none_costs_no_answer(providers: ProviderServer, place: str, kind: str, mode: str) -> None:
    # Mistral's package passes on what it gets, except in streams; OpenAI's own checks reject words in both.
    odd, other = member(providers, "mistral"), member(providers, "ollama")
    providers.script("mistral-large-2512", Answer(text="Paid for.", usage=ODD[kind]))
    if place == "aggregator" and mode == "astream" and kind in {"words", "floats", "null counts"}:
        with pytest.raises(ValidationError):
            await ask(odd, HI, mode)
        with pytest.raises(AggregatorFailedError) as failed:
            await ask(ChatMoA(proposers=[other], aggregator=odd, num_layers=1), HI, mode)
        assert [reference["status"] for reference in failed.value.references] == ["ok"]
        return
    aggregator = odd if place == "aggregator" else other
    moa = ChatMoA(proposers=[odd if place == "proposer" else other, other], aggregator=aggregator, num_layers=1)
    answer = await ask(moa, HI, mode)
    assert all(entry["status"] == "ok" for entry in answer.response_metadata["moa"]["layers"][0])
    assert answer.text
    if place == "proposer":
        assert "Paid for." in providers.requests[-1].text


async def test_usage_of_an_agents_turn_with_a_tool(providers: ProviderServer) -> None:
    providers.script("gpt-4.1", [Answer(calls=[Call(name="multiply", args={"a": 6, "b": 7})]), "It is 42."])
    moa = mixture(providers)
    answer, problems = await ask_once(moa.bind_tools([multiply]), moa, providers, HI, "invoke")
    assert answer.tool_calls
    assert not problems, "\n".join(problems)
