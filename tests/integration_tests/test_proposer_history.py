"""What a proposer is shown of the conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa import ChatMoA, Mixture, Proposer

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

CALL: Any = {"name": "look_up", "args": {}, "id": "call_1", "type": "tool_call"}
CONVERSATION: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("one"),
    AIMessage("1"),
    HumanMessage("two"),
    AIMessage("2"),
    HumanMessage("three"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("found", tool_call_id="call_1", name="look_up"),
]
SHOWN: dict[Any, list[str]] = {
    None: ["Be brief.", "one", "1", "two", "2", "three", "[Called", "[The tool"],
    "all": ["Be brief.", "one", "1", "two", "2", "three", "[Called", "[The tool"],
    1: ["Be brief.", "three", "[Called", "[The tool"],
    2: ["Be brief.", "two", "2", "three", "[Called", "[The tool"],
    9: ["Be brief.", "one", "1", "two", "2", "three", "[Called", "[The tool"],
    "question": ["Be brief.", "three"],
}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("history", SHOWN)
async def test_a_proposer_is_shown_a_part(loopback: Loopback, chat: Chat, history: Any, asynchronous: bool) -> None:
    proposers: list[Any] = [Proposer(chat("p"), history=history), chat("whole")]
    moa = ChatMoA(proposers=proposers, aggregator=chat("agg"), num_layers=2)
    answer = await moa.ainvoke(CONVERSATION) if asynchronous else moa.invoke(CONVERSATION)
    first, second = loopback.calls("p")
    expected = SHOWN[history]
    assert len(first.messages) == len(expected)
    for message, text in zip(first.messages, expected, strict=True):
        assert message["content"].startswith(text)
    # In later layers as well, and with all references.
    assert len(second.messages) == len(expected)
    assert "whole says" in second.system
    assert len(loopback.calls("whole")[0].messages) == len(CONVERSATION)
    # The aggregator is shown everything, and nothing counts as left out for lack of room.
    assert len(loopback.calls("agg")[0].messages) == len(CONVERSATION)
    assert "degraded" not in answer.response_metadata["moa"]


def test_a_conversation_without_a_question() -> None:
    messages = [AIMessage("a"), AIMessage("b")]
    assert Proposer("openai:a", history="question").seen(messages) == messages[-1:]
    assert Proposer("openai:a", history=1).seen([]) == []


def test_a_fallback_is_shown_no_more(loopback: Loopback, chat: Chat) -> None:
    from tests.loopback import Reply

    loopback.script("p", Reply("busy", status=500))
    own = Proposer(chat("second"), history="all")
    for fallback, length in ((chat("second"), 2), (own, len(CONVERSATION))):
        loopback.reset()
        proposer = Proposer(chat("p"), history="question", fallbacks=[fallback])
        ChatMoA(proposers=[proposer], aggregator=chat("agg"), num_layers=1).invoke(CONVERSATION)
        assert len(loopback.calls("second")[0].messages) == length


def test_samples_of_one_model_are_shown_a_part_and_their_aggregator_all(loopback: Loopback, chat: Chat) -> None:
    ChatMoA.self_moa(Proposer(chat("m"), history=1), samples=2).invoke(CONVERSATION)
    *samples, last = loopback.calls("m")
    assert [len(each.messages) for each in samples] == [4, 4]
    assert len(last.messages) == len(CONVERSATION)


def test_it_is_said_of_the_member() -> None:
    moa = Mixture(proposers=[{"model": "openai:a", "history": 3}, "openai:b"], aggregator="openai:c", api_key="none")
    first, second = moa.describe()["proposers"][0]
    assert first["history"] == 3
    assert "history" not in second


@pytest.mark.parametrize("history", [0, -1, True, 1.5, "last", "", []])
def test_a_history_that_is_none(history: Any) -> None:
    with pytest.raises(ValueError, match="history must be 'all', 'question' or a number of turns of at least 1"):
        Proposer("openai:a", history=history)


@pytest.mark.parametrize("field", ["aggregator", "aggregator_fallbacks", "aggregation"])
def test_who_is_no_proposer_is_shown_all(field: str) -> None:
    short: Any = {"model": "openai:a", "history": 1}
    value: Any = {"select": {"model": short}} if field == "aggregation" else short
    fields = {"proposers": ["openai:a"], "aggregator": "openai:b", "api_key": "none", field: value}
    with pytest.raises(ValueError, match=f"{field}.*history is 1, but only proposers can have one"):
        Mixture(**fields)
