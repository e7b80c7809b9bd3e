"""Structured output is the aggregator's, whatever the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_moa import ChatMoA
from tests.loopback import Reply, ToolCall

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


class Person(BaseModel):
    """A person."""

    name: str
    age: int


class PersonDict(TypedDict):
    """A person."""

    name: str
    age: int


ADA = '{"name": "Ada", "age": 36}'


def reply(method: str) -> Reply:
    if method == "function_calling":
        return Reply(tool_calls=[ToolCall("Person", ADA)])
    return Reply(ADA)


@pytest.fixture
def moa(loopback: Loopback, chat: Chat) -> ChatMoA:
    loopback.script("p", Reply("Ada is 36."))
    return ChatMoA(proposers=[chat("p")], aggregator=chat("agg"), num_layers=1)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_methods(loopback: Loopback, moa: ChatMoA, method: Any) -> None:
    loopback.script("agg", reply(method))
    model = moa.with_structured_output(Person, method=method)
    assert model.invoke("Who, in JSON?") == await model.ainvoke("Who, in JSON?") == Person(name="Ada", age=36)
    sent = loopback.calls("agg")[0].body
    plain = moa.members.aggregator.runnable.with_structured_output(Person, method=method)  # type: ignore[attr-defined]
    loopback.reset()
    plain.invoke("Who, in JSON?")
    alone = loopback.calls("agg")[0].body
    assert {key: sent[key] for key in sent if key != "messages"} == {key: alone[key] for key in alone if key != "messages"}


@pytest.mark.parametrize("wrap", ["fallbacks", "retry"])
async def test_an_aggregator_in_a_wrapper(loopback: Loopback, chat: Chat, wrap: str) -> None:
    loopback.script("broken", Reply("our fault", status=500))
    loopback.script("agg", ADA)
    aggregator: Any = chat("broken").with_fallbacks([chat("agg")]) if wrap == "fallbacks" else chat("agg").with_retry()
    bound = ChatMoA(proposers=[chat("p")], aggregator=aggregator, num_layers=1).with_structured_output(Person)
    for found in (bound.invoke("Hi"), await bound.ainvoke("Hi")):
        assert found == Person(name="Ada", age=36)
    assert loopback.calls("agg")[0].body["response_format"]["type"] == "json_schema"


def test_a_configurable_aggregator_is_refused(loopback: Loopback, chat: Chat) -> None:
    model = init_chat_model(model_provider="openai", configurable_fields=("temperature",), **loopback.settings("agg"))
    with pytest.raises(ValueError, match="the aggregator is a _ConfigurableModel, which cannot be given a schema here"):
        ChatMoA(proposers=[chat("p")], aggregator=model, num_layers=1).with_structured_output(Person)


def test_proposers_are_asked_in_words(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", reply("json_schema"))
    moa.with_structured_output(Person).invoke("Who?")
    assert set(loopback.calls("p")[0].body) <= {"model", "messages", "stream"}
    assert loopback.calls("agg")[0].system.endswith("\n1. Ada is 36.")


def test_raw_is_included(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", reply("json_schema"))
    found = moa.with_structured_output(Person, include_raw=True).invoke("Who?")
    assert found["parsed"] == Person(name="Ada", age=36)
    assert found["parsing_error"] is None
    assert found["raw"].response_metadata["moa"]["calls"] == 2


def test_strict(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", reply("json_schema"))
    moa.with_structured_output(Person, method="json_schema", strict=True).invoke("Who?")
    assert loopback.calls("agg")[0].body["response_format"]["json_schema"]["strict"] is True


async def test_partial_objects_stream(loopback: Loopback, moa: ChatMoA) -> None:
    loopback.script("agg", Reply(ADA, chunks=4))
    model = moa.with_structured_output(PersonDict)
    for parts in (list(model.stream("Who?")), [part async for part in model.astream("Who?")]):
        assert {} in parts
        assert {"name": "Ada"} in parts
        assert parts[-1] == {"name": "Ada", "age": 36}


def test_an_agents_response_format_takes_the_native_way(loopback: Loopback, chat: Chat) -> None:
    loopback.script("agg", reply("json_schema"))
    aggregator = chat("agg", profile={"structured_output": True, "tool_calling": True})
    moa = ChatMoA(proposers=[chat("p")], aggregator=aggregator, num_layers=1)
    assert moa.profile == aggregator.profile
    result = create_agent(moa, response_format=Person).invoke({"messages": [HumanMessage("Who?")]})
    assert result["structured_response"] == Person(name="Ada", age=36)
    assert loopback.calls("agg")[0].body["response_format"]["type"] == "json_schema"
    assert "response_format" not in loopback.calls("p")[0].body
