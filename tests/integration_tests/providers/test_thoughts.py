"""Thoughts in the text are removed from references and history in all known formats; a paid answer is never lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa import ChatMoA
from tests.providers import Answer, member
from tests.providers.asking import MODES, ask

if TYPE_CHECKING:
    from tests.providers import ProviderServer

SECRET = "a private thought"
VISIBLE = "The sky is blue."

SPELLINGS = {
    "think": f"<think>{SECRET}</think>{VISIBLE}",
    "upper case": f"<THINK>\n{SECRET}\n</THINK>\n\n{VISIBLE}",
    "thinking": f"<thinking>{SECRET}</thinking>{VISIBLE}",
    "Thinking, mixed case": f"<Thinking>{SECRET}</Thinking>{VISIBLE}",
    "thought": f"<thought>{SECRET}</thought>{VISIBLE}",
    "reasoning": f"<reasoning>{SECRET}</reasoning>{VISIBLE}",
    "two blocks": f"<think>{SECRET}</think>\n<think>{SECRET} again</think>\n{VISIBLE}",
    "a block in the middle": f"<think>{SECRET}</think>The sky <think>{SECRET}</think>is blue.",
    "a word before it": f"Okay. <think>{SECRET}</think>{VISIBLE}",
    "only the closing tag": f"{SECRET}\n</think>\n\n{VISIBLE}",
    "Magistral": f"[THINK]{SECRET}[/THINK]{VISIBLE}",
    "gpt-oss": f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>final<|message|>{VISIBLE}",
    "Kimi": f"◁think▷{SECRET}◁/think▷{VISIBLE}",
    "begin of thought": f"<|begin_of_thought|>{SECRET}<|end_of_thought|>{VISIBLE}",
    "a name with a colon": f"<seed:think>{SECRET}</seed:think>{VISIBLE}",
}


def mixture(providers: ProviderServer, **options: Any) -> ChatMoA:
    proposers = [member(providers, "groq"), member(providers, "ollama")]
    return ChatMoA(proposers=proposers, aggregator=member(providers, "openai"), **{"num_layers": 1, **options})


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_references_hold_no_thoughts(providers: ProviderServer, spelling: str) -> None:
    providers.script("qwen/qwen3-32b", SPELLINGS[spelling])
    await ask(mixture(providers, num_layers=2), [HumanMessage("Why?")], "invoke")
    assert all(SECRET not in request.text for request in providers.requests)
    shown = providers.calls("gpt-4.1")[-1].text
    assert "is blue." in shown


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_history_holds_no_thoughts(providers: ProviderServer, spelling: str) -> None:
    history = [HumanMessage("Why?"), AIMessage(SPELLINGS[spelling]), HumanMessage("And at night?")]
    await ask(mixture(providers), history, "invoke")
    for model in ("qwen/qwen3-32b", "qwen3:8b"):
        sent = providers.calls(model)[-1].text
        assert SECRET not in sent
        assert "is blue." in sent


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_vote_returns_no_thoughts(providers: ProviderServer, spelling: str) -> None:
    providers.script("qwen/qwen3-32b", SPELLINGS[spelling])
    providers.script("qwen3:8b", SPELLINGS[spelling])
    moa = ChatMoA(proposers=[member(providers, "groq"), member(providers, "ollama")], aggregation="vote", num_layers=1)
    answer = await ask(moa, [HumanMessage("Why?")], "invoke")
    assert SECRET not in answer.text
    assert "is blue." in answer.text


@pytest.mark.parametrize("mode", MODES)
async def test_the_aggregators_message_is_passed_on_as_it_came(providers: ProviderServer, mode: str) -> None:
    providers.script("gpt-4.1", SPELLINGS["think"])
    assert (await ask(mixture(providers), [HumanMessage("Why?")], mode)).text == SPELLINGS["think"]


# A paid answer is not lost because of a tag.
KEPT = {
    "a lone opening tag": f"<think>\n{VISIBLE}",
    "a text about the tag": "Models such as R1 open their thoughts with <think> and then reason.",
    "a text about both tags": "Write <think> before and </think> after your thoughts, in code: `<think>...</think>`.",
    "code that holds a tag": "```xml\n<thinking>true</thinking>\n```\nThis is the setting.",
    "only tags": "<think></think>",
}


@pytest.mark.parametrize("text", KEPT)
async def test_a_proposal_is_not_lost_to_a_tag(providers: ProviderServer, text: str) -> None:
    providers.script("qwen/qwen3-32b", KEPT[text])
    answer = await ask(mixture(providers), [HumanMessage("Why?")], "invoke")
    entry = answer.response_metadata["moa"]["layers"][0][0]
    if text == "only tags":
        assert entry["status"] != "ok"
        assert "thoughts" in str(entry["error"])
    else:
        assert entry["status"] == "ok"
    words = {"a lone opening tag": VISIBLE, "a text about the tag": "then reason"}.get(text, "")
    assert words in providers.calls("gpt-4.1")[-1].text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", ["a lone opening tag", "a text about the tag", "a text about both tags"])
async def test_an_answer_is_not_lost_to_a_tag(providers: ProviderServer, text: str, mode: str) -> None:
    providers.script("gpt-4.1", KEPT[text])
    assert (await ask(mixture(providers), [HumanMessage("Why?")], mode)).text == KEPT[text]


async def test_a_server_that_sends_thoughts_beside_a_lone_tag(providers: ProviderServer) -> None:
    providers.script("grok-3-mini", Answer(text=f"<think>\n{VISIBLE}", thoughts=SECRET))
    moa = ChatMoA(proposers=[member(providers, "xai", thinking=True)], aggregator=member(providers, "openai"), num_layers=1)
    answer = await ask(moa, [HumanMessage("Why?")], "invoke")
    assert answer.response_metadata["moa"]["layers"][0][0]["status"] == "ok"
    assert VISIBLE in providers.calls("gpt-4.1")[-1].text
    assert SECRET not in providers.calls("gpt-4.1")[-1].text


async def test_only_thoughts_that_were_cut_say_what_helps(providers: ProviderServer) -> None:
    providers.script("qwen/qwen3-32b", Answer(text=f"<think>{SECRET} and on and", finish="length"))
    answer = await ask(mixture(providers), [HumanMessage("Why?")], "invoke")
    entry = answer.response_metadata["moa"]["layers"][0][0]
    assert entry["status"] != "ok"
    assert "only thoughts" in str(entry["error"])
    assert "max_tokens" in str(entry["error"])
    assert SECRET not in str(entry["error"])
    assert all(SECRET not in request.text for request in providers.requests)


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "mistral", "responses", "bedrock", "cohere", "ollama", "deepseek"])
async def test_thoughts_beside_the_text_are_in_no_reference(providers: ProviderServer, provider: str) -> None:
    moa = ChatMoA(
        proposers=[member(providers, provider, thinking=True), member(providers, "openai")],
        aggregator=member(providers, "openai"),
        num_layers=2,
    )
    await ask(moa, [HumanMessage("Why?")], "invoke")
    assert not providers.leaks()
