"""The `able` model: LangChain's standard suite with plain `ChatOpenAI`, and its other abilities."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel, Field

from tests.loopback import Loopback, Reply, Usage, able
from tests.loopback.fixtures import AbleServed, Chat
from tests.loopback.schema import Maker

USAGE = Usage(prompt=30, completion=20, cached=10, reasoning=5)


class TestPlainChatOpenAI(AbleServed, ChatModelIntegrationTests):
    chat_model_class = ChatOpenAI
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_pdf_inputs = True
    supports_audio_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True
    model_override_value = "able-too"

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return self.server.settings("able")

    @property
    def supported_usage_metadata_details(self) -> dict[Literal["invoke", "stream"], Any]:
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output"]}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        self.server.script("thinker", Reply("4", usage=USAGE))
        return self.server.chat("thinker", streaming=stream).invoke("2 + 2")

    invoke_with_cache_read_input = invoke_with_reasoning_output


@tool
def get_weather(city: str) -> str:
    """Say what the weather is like."""
    return f"Sunny in {city}"


@tool
def add(a: int, b: int) -> int:
    """Sum two numbers."""
    return a + b


def test_able_calls_the_tools_that_fit_until_none_is_left(loopback: Loopback, chat: Chat) -> None:
    loopback.script("able", able)
    model = chat("able")
    asked = HumanMessage("What is the weather in San Francisco, CA? And 3 + 4?")

    def called(tools: list[Any], **settings: Any) -> list[tuple[str, dict[str, Any]]]:
        answer = model.bind_tools(tools, **settings).invoke([asked])
        return [(call["name"], call["args"]) for call in answer.tool_calls]

    weather, total = ("get_weather", {"city": "San Francisco, CA"}), ("add", {"a": 3, "b": 4})
    assert called([get_weather, add]) == [weather, total]
    assert called([get_weather, add], parallel_tool_calls=False) == [weather]
    assert called([get_weather, add], tool_choice="add") == [total]
    assert called([get_weather, add], tool_choice="none") == []
    asked = HumanMessage("Tell me a joke")
    assert called([get_weather, add]) == []
    assert len(called([get_weather, add], tool_choice="any")) == 1


def test_able_ends_an_agent_loop(loopback: Loopback, chat: Chat) -> None:
    loopback.script("able", able)
    model = chat("able").bind_tools([get_weather, add])
    messages: list[Any] = [HumanMessage("The weather in 'Köln'?")]
    answer = model.invoke(messages)
    assert [call["args"] for call in answer.tool_calls] == [{"city": "Köln"}]
    messages += [answer, ToolMessage("Rain", tool_call_id=answer.tool_calls[0]["id"])]
    assert model.invoke(messages).text == "able found: Rain"


class Kind(enum.Enum):
    CAT, DOG = "cat", "dog"


class Line(BaseModel):
    weight: float = Field(gt=0, lt=1)


class Order(BaseModel):
    kind: Kind
    count: int = Field(ge=1, multiple_of=5)
    price: float
    name: str = Field(min_length=3, max_length=12)
    code: str = Field(examples=["AB-1"], pattern="^[A-Z]+-[0-9]+$")
    ordered: dt.date
    note: str | None
    either: int | str
    lines: list[Line] = Field(min_length=2)
    extra: dict[str, int]
    agreed: Literal[True]


class Node(BaseModel):
    children: list[Node]
    parent: Node | None


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_able_fills_a_schema_from_the_question(
    loopback: Loopback, chat: Chat, method: Literal["json_schema", "function_calling"]
) -> None:
    loopback.script("able", able)
    model = chat("able").with_structured_output(Order, method=method, strict=False)
    order = model.invoke("A dog named 'Rex', 15 of them at 2.5 each; no note.")
    assert isinstance(order, Order)
    assert (order.kind, order.count, order.price, order.name) == (Kind.DOG, 15, 2.5, "Rex")
    assert order.note is None


@pytest.mark.parametrize("model", [Order, Node])
def test_instances_fit_their_schema(model: type[BaseModel]) -> None:
    assert isinstance(model.model_validate(Maker(model.model_json_schema(), "").make()), model)
