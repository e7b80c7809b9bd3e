"""The test servers are correct: the real packages talk to each for two turns in all modes, with tools and with thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from tests.providers import PROVIDERS, Answer, member
from tests.providers.asking import MODES, ask, multiply, run_tools
from tests.providers.conversation import marker

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from tests.providers import ProviderServer

# What langchain-cohere 0.6 does not support by itself.
SPLITS_STREAMED_TOOL_CALLS = {"cohere"}
REFUSES_ITS_OWN_THOUGHTS = {"cohere"}
SHOWS_NO_THOUGHTS = {"openai", "openrouter"}  # ChatOpenAI reads none from chat completions


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("thinking", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_two_turns_with_a_tool(providers: ProviderServer, provider: str, mode: str, *, thinking: bool) -> None:
    model = member(providers, provider, thinking=thinking)
    if provider in SPLITS_STREAMED_TOOL_CALLS and mode == "stream":
        pytest.skip("the package splits a streamed tool call; another test shows it")
    bound = model.bind_tools([multiply])
    history: list[BaseMessage] = [SystemMessage("Be brief.")]
    for question, result in (("What is 6 times 7?", "42"), ("And 3 times 5?", "15")):
        history.append(HumanMessage(question))
        call = await ask(bound, history, mode)
        assert [each["name"] for each in call.tool_calls] == ["multiply"]
        history += [call, *run_tools(call)]
        answer = await ask(bound, history, mode)
        assert result in answer.text
        assert shows_thoughts(providers, answer) == (thinking and provider not in SHOWS_NO_THOUGHTS)
        assert reported(answer) == providers.requests[-1].tokens
        history.append(AIMessage(answer.text) if provider in REFUSES_ITS_OWN_THOUGHTS else answer)
    assert not providers.rules
    assert not providers.leaks()
    assert all(request.stream == ("stream" in mode) for request in providers.requests) or provider == "ollama"


async def test_cohere_splits_a_streamed_tool_call(providers: ProviderServer) -> None:
    # Each piece has its own id, so LangChain does not join them. A release that fixes this fails here.
    answer = await ask(member(providers, "cohere").bind_tools([multiply]), [HumanMessage("What is 6 times 7?")], "stream")
    assert len(answer.tool_calls) > 1


async def test_cohere_refuses_its_own_thoughts(providers: ProviderServer) -> None:
    model = member(providers, "cohere", thinking=True)
    answer = model.invoke("Hi")
    with pytest.raises(ValueError, match="validation error"):
        model.invoke([HumanMessage("Hi"), answer, HumanMessage("And?")])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_error_is_raised_by_the_client(providers: ProviderServer, provider: str) -> None:
    model = member(providers, provider)
    providers.script(providers_model(providers, model), Answer(text="the server is on fire", status=500))
    with pytest.raises(Exception, match="on fire"):
        model.invoke("Hi")


def shows_thoughts(providers: ProviderServer, answer: AIMessage) -> bool:
    """Return whether the thoughts of the last request are anywhere in an answer."""
    last = providers.requests[-1]
    return marker(last.vendor, last.model) in f"{answer.content} {answer.additional_kwargs}"


def providers_model(providers: ProviderServer, model: object) -> str:
    """Return the model id that a model sends."""
    model.invoke("Hi")  # type: ignore[attr-defined]  # any chat model
    return providers.requests[-1].model


def reported(answer: AIMessage) -> tuple[int, int] | None:
    """Return the input and output tokens that an answer reports."""
    usage = answer.usage_metadata
    return (int(usage["input_tokens"]), int(usage["output_tokens"])) if usage else None
