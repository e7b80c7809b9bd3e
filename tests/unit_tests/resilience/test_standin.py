"""A fallback of the aggregator gets the aggregator's tools in its own provider's format."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from typing_extensions import override

from langchain_moa import Proposer
from langchain_moa.members.binding import kwargs_for_fallback


class One(GenericFakeChatModel):
    """A provider that uses OpenAI's format."""


class Another(GenericFakeChatModel):
    """A provider with its own format."""

    @override
    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        named = [{"called": convert_to_openai_tool(tool)["function"]["name"]} for tool in tools]
        return self.bind(tools=named, choice=tool_choice, **kwargs)


TOOLS = [{"type": "function", "function": {"name": "search", "description": "", "parameters": {}}}]


def member(cls: type[GenericFakeChatModel]) -> Any:
    return Proposer(cls(messages=iter([AIMessage("a")]))).resolve({})


def test_the_aggregators_own_kind_takes_what_is_bound() -> None:
    kwargs = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": True}
    aggregator = member(One)
    assert kwargs_for_fallback(aggregator, kwargs, of=aggregator) is kwargs
    assert kwargs_for_fallback(member(One), kwargs, of=aggregator) is kwargs


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": {"type": "auto"}}, None),
        ({"tool_choice": "required"}, "any"),
        ({"tool_choice": "any"}, "any"),
        ({"tool_choice": {"type": "any"}}, "any"),
        ({"tool_choice": {"type": "function", "function": {"name": "search"}}}, "search"),
        ({"tool_choice": {"type": "tool", "name": "search"}}, "search"),
        ({"tool_choice": "search"}, "search"),
        ({"tool_choice": {"something": "else"}}, None),
    ],
)
def test_another_provider_binds_the_tools_in_its_own_form(given: dict[str, Any], chosen: str | None) -> None:
    kwargs = kwargs_for_fallback(member(Another), {"tools": TOOLS, "parallel_tool_calls": True, **given}, of=member(One))
    assert kwargs == {"tools": [{"called": "search"}], "choice": chosen, "parallel_tool_calls": True}


def test_one_who_can_have_no_tools_is_called_all_the_same() -> None:
    kwargs = {"tools": TOOLS}
    assert kwargs_for_fallback(member(One), kwargs, of=member(Another)) is kwargs


def test_without_tools_there_is_nothing_to_choose() -> None:
    assert kwargs_for_fallback(member(Another), {"tool_choice": "none"}, of=member(One)) == {}
    assert kwargs_for_fallback(member(Another), {}, of=member(One)) == {}
