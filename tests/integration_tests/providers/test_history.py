"""What a member is sent of the conversation: its own messages unchanged, all others as visible text."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa import ChatMoA
from tests.providers import PROVIDERS, Answer, Call, member
from tests.providers.asking import MODES, ask, multiply
from tests.providers.mixing import ask_once, converse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from tests.providers import ProviderServer

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c63f8cfc0f01f00050001ff56c7d1b50000000049454e44ae426082"
    )
).decode()
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n").decode()
WAV = base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\0\0\0\0").decode()


def mixture(proposers: Sequence[BaseChatModel], aggregator: BaseChatModel, **options: Any) -> ChatMoA:
    return ChatMoA(proposers=list(proposers), aggregator=aggregator, **{"num_layers": 1, **options})


def wire_problems(problems: Sequence[str]) -> list[str]:
    """Remove the token counts, which another file tests."""
    return [problem for problem in problems if "usage: " not in problem]


# What an aggregator leaves in the history, and the providers that reject it.
FOREIGN = {
    "signed thinking, to Ollama": ("anthropic", ("ollama", "ollama")),
    "encrypted reasoning, to Mistral and Cohere": ("responses", ("mistral", "cohere")),
    "signed thinking, to Gemini": ("anthropic", ("gemini", "gemini")),
    "Bedrock's thinking, to Claude": ("bedrock", ("anthropic", "openai")),
    "Gemini's thinking, to OpenAI": ("gemini", ("openai", "deepseek")),
    "Cohere's thinking, to itself": ("cohere", ("cohere", "openai")),
    "reasoning_content, to Ollama, which has a field for thoughts": ("deepseek", ("ollama", "fireworks")),
    "Mistral's thinking, to OpenAI": ("mistral", ("openai", "groq")),
    "think tags, to everybody": ("groq", ("openai", "mistral")),
}


@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("case", FOREIGN)
async def test_thoughts_of_the_aggregator_stay_with_it(providers: ProviderServer, case: str, mode: str) -> None:
    aggregator, proposers = FOREIGN[case]
    moa = mixture([member(providers, each) for each in proposers], member(providers, aggregator, thinking=True))
    _, problems = await converse(moa, providers, turns=3, mode=mode)
    assert not wire_problems(problems), "\n".join(problems)


@pytest.mark.parametrize("mode", MODES)
async def test_a_signed_thought_goes_to_no_other_model_of_its_vendor(providers: ProviderServer, mode: str) -> None:
    others = ("claude-haiku-4-5", "claude-opus-4-5")
    moa = mixture(
        [member(providers, "anthropic", thinking=True, model=model) for model in others],
        member(providers, "anthropic", thinking=True),
    )
    _, problems = await converse(moa, providers, turns=3, mode=mode)
    assert not wire_problems(problems), "\n".join(problems)


async def test_the_author_of_a_message_gets_it_back_as_it_was(providers: ProviderServer) -> None:
    moa = mixture([member(providers, "openai")], member(providers, "anthropic", thinking=True))
    _, problems = await converse(moa, providers, turns=2, mode="invoke", tools=True)
    assert not wire_problems(problems), "\n".join(problems)
    sent = providers.calls("claude-sonnet-4-6")[-1].body["messages"]
    own = [block["type"] for message in sent if message["role"] == "assistant" for block in message["content"]]
    assert own.count("thinking") >= 2
    assert own.count("tool_use") == 2


async def test_a_message_of_an_unknown_author_is_foreign(providers: ProviderServer) -> None:
    content = [{"type": "thinking", "thinking": "whose?", "signature": "c29tZWJvZHkncw=="}, {"type": "text", "text": "Hello."}]
    history = [HumanMessage("Hi"), AIMessage(content)]  # type: ignore[arg-type]  # blocks are dicts
    moa = mixture([member(providers, "anthropic"), member(providers, "openai")], member(providers, "anthropic", thinking=True))
    _, problems = await converse(moa, providers, turns=1, mode="invoke", history=history)
    assert not wire_problems(problems), "\n".join(problems)
    assert all("whose?" not in request.text for request in providers.requests)


async def test_server_tools_of_one_vendor_are_not_sent_to_another(providers: ProviderServer) -> None:
    searched: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "blue"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [
                {"type": "web_search_result", "url": "https://example.com", "title": "Blue", "encrypted_content": "YQ=="}
            ],
        },
    ]
    providers.script("claude-sonnet-4-6", Answer(text="It scatters.", blocks=searched))
    proposers = [
        member(providers, each) for each in ("openai", "bedrock", "gemini", "mistral", "cohere", "ollama", "responses")
    ]
    _, problems = await converse(mixture(proposers, member(providers, "anthropic")), providers, turns=3, mode="invoke")
    assert not wire_problems(problems), "\n".join(problems)


@pytest.mark.parametrize("aggregator", ["anthropic", "responses", "gemini", "bedrock", "mistral"])
async def test_streamed_content_is_valid_for_others(providers: ProviderServer, aggregator: str) -> None:
    proposers = [member(providers, each) for each in PROVIDERS]
    moa = mixture(proposers, member(providers, aggregator, thinking=aggregator == "mistral"))
    _, problems = await converse(moa, providers, turns=2, mode="stream")
    assert not wire_problems(problems), "\n".join(problems)


@pytest.mark.parametrize("mode", ["invoke", "stream"])
async def test_a_fallback_in_the_middle_of_an_agents_loop(providers: ProviderServer, mode: str) -> None:
    moa = mixture(
        [member(providers, "ollama"), member(providers, "mistral")],
        member(providers, "anthropic", thinking=True),
        aggregator_fallbacks=[member(providers, "openai")],
        max_retries=0,
    )
    bound: Any = moa.bind_tools([multiply])
    messages: list[BaseMessage] = [HumanMessage("What is 6 times 7?")]
    call, _ = await ask_once(bound, moa, providers, messages, mode)
    messages += [call, *(multiply.invoke(each) for each in call.tool_calls)]
    providers.script("claude-sonnet-4-6", Answer(text="overloaded", status=529))
    answer = await ask(bound, messages, mode)
    assert "42" in answer.text
    providers.script("claude-sonnet-4-6", Answer(text="I am back."))
    messages += [answer, HumanMessage("And 3 times 5?")]
    assert (await ask(bound, messages, mode)).text == "I am back."
    assert not providers.rules, [str(request.refused) for request in providers.refused]
    assert not providers.leaks()


@pytest.mark.parametrize("mode", ["invoke", "stream"])
async def test_references_arrive_with_previous_response_ids(providers: ProviderServer, mode: str) -> None:
    aggregator = member(providers, "responses", use_previous_response_id=True)
    moa = mixture([member(providers, "openai"), member(providers, "ollama")], aggregator)
    messages: list[BaseMessage] = []
    for turn in range(1, 4):
        providers.script("gpt-4.1", f"The first draft of turn {turn}.")
        providers.script("qwen3:8b", f"The second draft of turn {turn}.")
        messages.append(HumanMessage(f"Question {turn}"))
        messages.append(await ask(moa, messages, mode))
        sent = providers.calls("gpt-4.1-mini")[-1].text
        assert f"The first draft of turn {turn}." in sent
        assert f"The second draft of turn {turn}." in sent
        assert "The first draft of turn 0." not in sent
    assert not providers.rules


def tool_turn(*results: Any) -> list[BaseMessage]:
    """Return a question, the calls of a tool, and their results."""
    calls = [{"name": "multiply", "args": {"a": 6, "b": 7}, "id": f"call_{place}"} for place in range(len(results))]
    found = [ToolMessage(result, tool_call_id=f"call_{place}", name="multiply") for place, result in enumerate(results)]
    return [HumanMessage("What is 6 times 7?"), AIMessage("", tool_calls=calls), *found]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_user_who_speaks_after_a_tool_result(providers: ProviderServer, provider: str) -> None:
    history = [*tool_turn("42"), HumanMessage("Never mind."), HumanMessage("What is 3 times 5?")]
    moa = mixture([member(providers, provider)], member(providers, provider))
    await ask(moa.bind_tools([multiply]), history, "invoke")
    assert not providers.rules, [str(request.refused) for request in providers.refused]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_image_between_two_results(providers: ProviderServer, provider: str) -> None:
    image = [{"type": "image", "base64": PNG, "mime_type": "image/png"}]
    moa = mixture([member(providers, provider)], member(providers, provider))
    await ask(moa.bind_tools([multiply]), tool_turn("41", image, "42"), "invoke")
    assert not providers.rules, [str(request.refused) for request in providers.refused]
    for request in providers.requests:
        assert "41" in request.text
        assert "42" in request.text
        # A provider that accepts no image in a tool's result gets it after the results.
        assert PNG[:60] in request.text or "image omitted" in request.text


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_system_message_in_mid_conversation(providers: ProviderServer, provider: str) -> None:
    history: list[BaseMessage] = [
        SystemMessage("You are brief."),
        HumanMessage("Hi"),
        AIMessage("Hello."),
        SystemMessage("Summary: they like blue."),
        HumanMessage("Which colour?"),
    ]
    moa = mixture([member(providers, provider)], member(providers, provider))
    answer = await ask(moa, history, "invoke")
    assert answer.response_metadata["moa"]["layers"][0][0]["status"] == "ok"
    assert not providers.rules, [str(request.refused) for request in providers.refused]
    assert all("they like blue" in request.text for request in providers.requests)


# User content in one provider's format or of one medium; it must be converted, or noted as omitted.
BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "Anthropic's document": (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        "",
    ),
    "Anthropic's text document": (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "the sky is blue"}},
        "the sky is blue",
    ),
    "Anthropic's image": ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, ""),
    "text-plain": ({"type": "text-plain", "text": "the sky is blue", "mime_type": "text/plain"}, "the sky is blue"),
    "cache_control": (
        {"type": "text", "text": "the sky is blue", "cache_control": {"type": "ephemeral"}},
        "the sky is blue",
    ),
    "OpenAI's image": ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}, ""),
    "OpenAI's sound": ({"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}, ""),
    "OpenAI's file": ({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}, ""),
    "image": ({"type": "image", "base64": PNG, "mime_type": "image/png"}, ""),
    "PDF": ({"type": "file", "base64": PDF, "mime_type": "application/pdf", "filename": "a.pdf"}, ""),
    "sound": ({"type": "audio", "base64": WAV, "mime_type": "audio/wav"}, ""),
}


@pytest.mark.parametrize("kind", BLOCKS)
async def test_content_of_one_dialect_kills_no_member(providers: ProviderServer, kind: str) -> None:
    block, text = BLOCKS[kind]
    question = HumanMessage([{"type": "text", "text": "What is this?"}, block])
    moa = mixture([member(providers, each) for each in PROVIDERS], member(providers, "openai"))
    answer = await ask(moa, [question], "invoke")
    failed = {
        entry["name"]: entry.get("error") for entry in answer.response_metadata["moa"]["layers"][0] if entry["status"] != "ok"
    }
    assert not failed
    assert not providers.rules, [f"{request.vendor}: {request.refused}" for request in providers.refused]
    assert all("What is this?" in request.text and text in request.text for request in providers.requests)


@pytest.mark.parametrize(
    ("aggregator", "proposers"),
    [
        ("anthropic", ("ollama", "gemini")),
        ("gemini", ("responses", "mistral")),
        ("responses", ("bedrock", "deepseek")),
    ],
)
async def test_three_vendors_for_six_turns(providers: ProviderServer, aggregator: str, proposers: tuple[str, str]) -> None:
    moa = mixture(
        [member(providers, each, thinking=True) for each in proposers],
        member(providers, aggregator, thinking=True),
        num_layers=2,
    )
    _, problems = await converse(moa, providers, turns=6, mode="stream", tools=True)
    assert not wire_problems(problems), "\n".join(problems)


async def test_tool_calls_of_another_vendor_are_valid_for_the_aggregator(providers: ProviderServer) -> None:
    providers.script(
        "gpt-4.1", Answer(calls=[Call(name="multiply", args={"a": 6, "b": 7}, id="call_of_openai|with/odd.signs")])
    )
    messages: list[BaseMessage] = [HumanMessage("What is 6 times 7?")]
    first: Any = mixture([member(providers, "ollama")], member(providers, "openai")).bind_tools([multiply])
    call = await ask(first, messages, "invoke")
    messages += [call, *(multiply.invoke(each) for each in call.tool_calls)]
    for provider in ("anthropic", "mistral", "gemini", "bedrock", "responses"):
        other: Any = mixture([member(providers, "ollama")], member(providers, provider)).bind_tools([multiply])
        assert "42" in (await ask(other, messages, "invoke")).text
    assert not providers.rules, [str(request.refused) for request in providers.refused]
