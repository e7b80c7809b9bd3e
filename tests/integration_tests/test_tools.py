"""Tools are bound to the aggregator only, and described to the proposers in words."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_moa import ChatMoA, Proposer, create_moa
from langchain_moa.chat_model.inner_run import TurnReferences
from tests.loopback import Reply, ToolCall

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


@tool
def weather(city: str, days: int = 1) -> str:
    """Get the weather of a city."""
    if city == "Atlantis":
        msg = "no such city"
        raise ValueError(msg)
    return f"sunny in {city} for {days} days"


@pytest.fixture
def moa(loopback: Loopback, chat: Chat) -> ChatMoA:
    loopback.script("p", Reply("call weather(city='Paris')"))
    return ChatMoA(proposers=[chat("p"), chat("q")], aggregator=chat("agg"), num_layers=1)


def test_only_the_aggregator_is_sent_tools(loopback: Loopback, moa: ChatMoA) -> None:
    bound = moa.bind_tools([weather], tool_choice="weather", parallel_tool_calls=False, strict=True)
    loopback.script("agg", Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]))
    answer = bound.invoke("What is the weather in Paris?", temperature=0)
    assert [call["name"] for call in answer.tool_calls] == ["weather"]
    (sent,) = loopback.calls("agg")
    assert sent.tools == ["weather"]
    assert sent.body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent.body["parallel_tool_calls"] is False
    assert sent.body["tools"][0]["function"]["strict"] is True
    for name in ("p", "q"):
        (request,) = loopback.calls(name)
        assert set(request.body) <= {"model", "messages", "stream", "temperature"}
        assert "- weather(city: string, days: integer): Get the weather of a city." in request.system


def test_a_proposers_text_never_becomes_a_tool_call(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("p", Reply(tool_calls=[ToolCall("weather", {"city": "Rome"})]))
    loopback.script("q", Reply('{"name": "weather", "arguments": {"city": "Rome"}}'))
    loopback.script("agg", Reply("Ask somebody else."))
    answer = moa.bind_tools([weather]).invoke("Weather?")
    assert answer.tool_calls == []
    assert answer.response_metadata["moa"]["layers"][0][0]["error"]["kind"] == "tool_call_only"
    assert "Rome" in loopback.calls("agg")[0].system


CONVERSATION = [
    HumanMessage("Weather in Paris and Atlantis?"),
    AIMessage(
        "Let me look.",
        tool_calls=[
            {"name": "weather", "args": {"city": "Paris"}, "id": "1"},
            {"name": "weather", "args": {"city": "Atlantis"}, "id": "2"},
        ],
    ),
    ToolMessage("sunny", tool_call_id="1", name="weather"),
    ToolMessage("no such city", tool_call_id="2", name="weather", status="error"),
]


def test_proposers_read_tool_messages_as_text(loopback: Loopback, moa: ChatMoA) -> None:
    before = [message.model_dump() for message in CONVERSATION]
    moa.bind_tools([weather]).invoke(CONVERSATION)
    for name in ("p", "q"):
        (request,) = loopback.calls(name)
        assert request.messages[1:] == [
            {"role": "user", "content": "Weather in Paris and Atlantis?"},
            {
                "role": "assistant",
                "content": 'Let me look.\n[Called the tool weather with {"city": "Paris"}]\n'
                '[Called the tool weather with {"city": "Atlantis"}]',
            },
            {
                "role": "user",
                "content": "[The tool weather returned:]\nsunny\n[The tool weather failed with:]\nno such city",
            },
        ]
    assert loopback.calls("agg")[0].roles == ["system", "user", "assistant", "tool", "tool"]
    assert [message.model_dump() for message in CONVERSATION] == before


def test_an_aggregator_without_tools_reads_them_as_text_too(loopback: Loopback, moa: ChatMoA) -> None:
    moa.invoke(CONVERSATION)
    assert loopback.calls("agg")[0].roles == ["system", "user", "assistant", "user"]


def test_an_aggregator_that_brings_its_own_tools_keeps_them(loopback: Loopback, chat: Chat) -> None:
    graph = create_moa([chat("p")], chat("agg").bind_tools([weather]), num_layers=1).compile()
    graph.invoke(cast("Any", {"messages": CONVERSATION}))
    assert loopback.calls("agg")[0].roles == ["system", "user", "assistant", "tool", "tool"]
    assert loopback.calls("agg")[0].tools == ["weather"]


def loop(loopback: Loopback) -> None:
    loopback.script(
        "agg",
        [
            Reply(tool_calls=[ToolCall("weather", {"city": "Paris"}), ToolCall("weather", {"city": "Rome"})]),
            Reply(tool_calls=[ToolCall("weather", {"city": "Oslo"})]),
            Reply("All sunny."),
        ],
    )


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("per", "asked"), [("call", 3), ("turn", 1)])
async def test_an_agents_loop(loopback: Loopback, moa: ChatMoA, per: Any, asked: int, asynchronous: bool) -> None:
    loop(loopback)
    agent = create_agent(moa.model_copy(update={"references_per": per}), tools=[weather])
    question: Any = {"messages": [("user", "Weather?")]}
    result = await agent.ainvoke(question) if asynchronous else agent.invoke(question)
    messages = result["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "tool", "ai", "tool", "ai"]
    assert messages[-1].text == "All sunny."
    assert len(loopback.calls("p")) == len(loopback.calls("q")) == asked
    assert len(loopback.calls("agg")) == 3
    for request in loopback.calls("agg"):
        assert "\n1. call weather(city='Paris')\n2. q says: Weather?" in request.system or per == "call"
    calls = [message.response_metadata["moa"]["calls"] for message in messages if message.type == "ai"]
    assert calls == ([3, 3, 3] if per == "call" else [3, 1, 1])


def test_a_new_user_message_asks_again(loopback: Loopback, moa: ChatMoA) -> None:
    moa = moa.model_copy(update={"references_per": "turn"})
    agent = create_agent(moa, tools=[weather])
    loop(loopback)
    question: Any = {"messages": [HumanMessage("Weather?")]}
    first = agent.invoke(question)
    agent.invoke(cast("Any", {"messages": [*first["messages"], HumanMessage("And now?")]}))
    assert len(loopback.calls("p")) == 2
    agent.invoke(question)
    assert len(loopback.calls("p")) == 3, "the same question, asked again, is a turn of its own"


def test_other_parameters_ask_again(loopback: Loopback, moa: ChatMoA) -> None:
    moa = moa.model_copy(update={"references_per": "turn"})
    bound = moa.bind_tools([weather])
    bound.invoke(CONVERSATION[:1])
    bound.invoke(CONVERSATION)
    assert len(loopback.calls("p")) == 1
    bound.invoke(CONVERSATION, stop=["END"])
    assert len(loopback.calls("p")) == 2


async def test_tool_call_chunks_stream(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply(tool_calls=[ToolCall("weather", {"city": "Paris", "days": 3})]))
    bound = moa.bind_tools([weather])
    streams: list[list[Any]] = [list(bound.stream("Hi")), [chunk async for chunk in bound.astream("Hi")]]
    for chunks in streams:
        assert sum(bool(chunk.tool_call_chunks) for chunk in chunks) > 2
        total = chunks[0]
        for chunk in chunks[1:]:
            total += chunk
        assert isinstance(total, AIMessageChunk)
        assert [(call["name"], call["args"]) for call in total.tool_calls] == [("weather", {"city": "Paris", "days": 3})]


def test_tools_in_any_form(loopback: Loopback, moa: ChatMoA) -> None:
    class Search(BaseModel):
        """Search the web."""

        query: str

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    raw = {
        "type": "function",
        "function": {"name": "raw", "description": "A tool.", "parameters": {"type": "object", "properties": {}}},
    }
    moa.bind_tools([Search, add, raw]).invoke("Hi")
    assert loopback.calls("agg")[0].tools == ["Search", "add", "raw"]
    system = loopback.calls("p")[0].system
    for line in (
        "- Search(query: string): Search the web.",
        "- add(a: integer, b: integer): Add two numbers.",
        "- raw(): A tool.",
    ):
        assert line in system


def test_the_references_of_turns_do_not_keep_the_conversations() -> None:
    turns = TurnReferences()
    tracemalloc.start()
    try:
        for number in range(20):
            turns.keep([HumanMessage(f"{number} {'x' * 1_000_000}")], {}, [])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


@pytest.mark.parametrize("wrap", ["fallbacks", "retry", "configurable"])
def test_an_aggregator_keeps_its_role_with_tools(loopback: Loopback, chat: Chat, wrap: str) -> None:
    models: dict[str, Any] = {
        "fallbacks": chat("agg").with_fallbacks([chat("other")]),
        "retry": chat("agg").with_retry(),
        "configurable": init_chat_model(
            model_provider="openai", configurable_fields=("temperature",), **loopback.settings("agg")
        ),
    }
    moa = ChatMoA(proposers=[chat("p")], aggregator=Proposer(models[wrap], system_prompt="You are brief."), num_layers=1)
    moa.bind_tools([weather]).invoke("Hi")
    assert loopback.calls("agg")[0].tools == ["weather"]
    assert loopback.calls("agg")[0].system.startswith("You are brief.")
    if wrap != "configurable":
        assert "- weather(" in loopback.calls("p")[0].system


def test_fallbacks_as_an_aggregator_bind_tools_on_each(loopback: Loopback, chat: Chat) -> None:
    loopback.script("broken", Reply(status=500))
    aggregator = chat("broken").with_fallbacks([chat("agg")])
    loopback.script("agg", Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]))
    moa = ChatMoA(proposers=[chat("p")], aggregator=aggregator, num_layers=1)
    answer = moa.bind_tools([weather]).invoke("Hi")
    assert [call["name"] for call in answer.tool_calls] == ["weather"]
    assert loopback.calls("agg")[0].tools == loopback.calls("broken")[0].tools == ["weather"]
