"""The aggregator's own reasoning, as its provider's package yields it, reaches clients of both APIs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from langchain_moa import ChatMoA
from langchain_moa.serving import make_app
from tests.providers import Answer, member
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.providers import ProviderServer

# One provider for each form in which packages hand reasoning on.
MODELS = {
    "anthropic": "claude-sonnet-4-6",
    "bedrock": "anthropic.claude-haiku-4-5-20251001-v1:0",
    "cohere": "command-a-reasoning-08-2025",
    "deepseek": "deepseek-chat",
    "mistral": "magistral-medium-2509",
    "responses": "gpt-6.1-sol",
}


def events_of(text: str) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize("provider", MODELS)
async def test_the_aggregators_reasoning_is_passed_on(providers: ProviderServer, provider: str) -> None:
    providers.script(MODELS[provider], Answer(text="The sky is blue.", thoughts="Light is scattered."))
    aggregator = member(providers, provider, thinking=True)
    app = make_app(ChatMoA(proposers=[member(providers, "openai")], aggregator=aggregator, num_layers=1))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE) as client:
        chat = {"model": "moa", "messages": [{"role": "user", "content": "Why?"}]}
        message = (await client.post("/v1/chat/completions", json=chat)).json()["choices"][0]["message"]
        stream = events_of((await client.post("/v1/chat/completions", json={**chat, "stream": True})).text)
        body = {"model": "moa", "input": "Why?"}
        response = (await client.post("/v1/responses", json=body)).json()
        events = events_of((await client.post("/v1/responses", json={**body, "stream": True})).text)
    assert (message["reasoning_content"], message["content"]) == ("Light is scattered.", "The sky is blue.")
    deltas = [chunk["choices"][0]["delta"] for chunk in stream]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Light is scattered."
    assert "".join(delta.get("content") or "" for delta in deltas) == "The sky is blue."
    for output in (response["output"], events[-1]["response"]["output"]):
        assert [item["type"] for item in output] == ["reasoning", "message"]
        assert output[0]["summary"] == [{"type": "summary_text", "text": "Light is scattered."}]
