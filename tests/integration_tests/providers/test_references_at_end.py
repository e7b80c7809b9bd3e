"""References after the last message work with every provider, with and without tools, streamed or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_moa import ChatMoA
from tests.providers import PROVIDERS, Answer, Turn, capable, member
from tests.providers.asking import ask, multiply, run_tools

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from tests.providers import ProviderServer
    from tests.providers.protocol import Recorded

MODES = ("invoke", "astream")
INSTRUCTION = "Write one answer from the responses below."
OPENING = "Responses from models:"
SHOWN = (OPENING, "The drafts of the assistants")


def mixture(providers: ProviderServer, provider: str, *, thinking: bool = False, **options: Any) -> ChatMoA:
    """Return a mixture whose second layer and aggregator use one provider, and whose first layer uses another."""
    own = member(providers, provider, thinking=thinking)
    name = getattr(own, "model_id", None) or getattr(own, "model_name", None) or own.model  # type: ignore[attr-defined]  # each class's own
    providers.script(name.removeprefix("models/"), agent)
    return ChatMoA(
        proposers=[[member(providers, "openai", model="gpt-other")] * 2, [own]],
        aggregator=own,
        references_at="end",
        **{"prompt": INSTRUCTION, **options},
    )


def agent(turn: Turn) -> Answer:
    """Call a tool if a question is asked, and answer if only references follow the results."""
    return Answer(text="It is as the tool says.") if turn.question.startswith(SHOWN) else capable(turn)


def readers(providers: ProviderServer) -> list[Recorded]:
    """Return the requests that show references."""
    return [request for request in providers.requests if OPENING in request.text]


def is_at_the_end(request: Recorded) -> bool:
    """Return whether the references are the last text of a request's messages, and the instruction comes before all of them."""
    body = request.body
    messages: Any = body.get("messages") or body.get("contents") or body.get("input") or body.get("chat_history")
    last = json.dumps(body["message"] if "message" in body else messages[-1], ensure_ascii=False)
    place = request.text.index(INSTRUCTION)
    return OPENING in last and INSTRUCTION not in last and request.text.count(INSTRUCTION) == 1 and place >= 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_conversation(providers: ProviderServer, provider: str, mode: str) -> None:
    moa = mixture(providers, provider)
    history: list[BaseMessage] = [SystemMessage("Be brief.")]
    for turn, question in enumerate(("What is 6 times 7?", "And 3 times 5?"), start=1):
        history.append(HumanMessage(question))
        answer = await ask(moa, history, mode)
        assert not providers.rules
        assert len(readers(providers)) == 2 * turn
        assert all(map(is_at_the_end, readers(providers)))
        assert [entry["status"] for layer in answer.response_metadata["moa"]["layers"] for entry in layer] == ["ok"] * 3
        history.append(answer)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("thinking", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_agents_loop(providers: ProviderServer, provider: str, mode: str, thinking: bool) -> None:
    model: Any = mixture(providers, provider, thinking=thinking).bind_tools([multiply])
    history: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("What is 6 times 7?")]
    call = await ask(model, history, mode)
    assert [each["name"] for each in call.tool_calls] == ["multiply"]
    answer = await ask(model, [*history, call, *run_tools(call)], mode)
    assert not providers.rules
    assert answer.text
    assert not answer.tool_calls
    assert len(readers(providers)) == 4
    assert all(map(is_at_the_end, readers(providers)))


@pytest.mark.parametrize("prompt", ["paper", "hardened"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_prompt_after_several_results(providers: ProviderServer, provider: str, prompt: str) -> None:
    model: Any = mixture(providers, provider, prompt=prompt, num_layers=2).bind_tools([multiply])
    calls = [{"name": "multiply", "args": {"a": 6, "b": factor}, "id": f"call0000{factor}"} for factor in (7, 8)]
    blocks: list[Any] = [{"type": "text", "text": "What is 6 times 7,"}, {"type": "text", "text": "and 6 times 8?"}]
    contents: list[Any] = ["What is 6 times 7, and 6 times 8?", blocks]
    for content in contents:
        history = [HumanMessage(content), AIMessage("", tool_calls=calls)]
        answer = await ask(model, [*history, *run_tools(history[1])], "invoke")  # type: ignore[arg-type]  # it is an AIMessage
        assert not providers.rules
        assert answer.text
        assert not answer.tool_calls
        await ask(model, history[:1], "invoke")
    assert not providers.rules


async def test_mistral_reads_them_in_the_last_result(providers: ProviderServer) -> None:
    model: Any = mixture(providers, "mistral").bind_tools([multiply])
    history: list[BaseMessage] = [HumanMessage("What is 6 times 7?")]
    call = await ask(model, history, "invoke")
    (result,) = run_tools(call)
    await ask(model, [*history, call, result], "invoke")
    *before, last = readers(providers)[-1].body["messages"]
    assert [message["role"] for message in before] == ["system", "user", "assistant"]
    assert last["role"] == "tool"
    assert last["content"].startswith(f"{result.text}\n\nResponses from models:\n1. ")


async def test_a_mark_for_claudes_cache_stays_in_front_of_the_references(providers: ProviderServer) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    history: list[BaseMessage] = [
        SystemMessage([{"type": "text", "text": "Be brief.", **mark}]),
        HumanMessage([{"type": "text", "text": "What is 6 times 7?", **mark}]),
    ]
    await ask(mixture(providers, "anthropic"), history, "invoke")
    assert not providers.rules
    for request in readers(providers):
        system, (user,) = request.body["system"], request.body["messages"]
        assert system == [{"type": "text", "text": "Be brief.", **mark}, {"type": "text", "text": f"\n\n{INSTRUCTION}"}]
        question, references = user["content"]
        assert question == {"type": "text", "text": "What is 6 times 7?", **mark}
        assert references["text"].startswith(f"\n\n{OPENING}")
        assert "cache_control" not in references
