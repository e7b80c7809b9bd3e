"""The room for messages: the context window minus everything else that a call sends and receives."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_moa.prompting.budget import room_for_messages


class Model(FakeListChatModel):
    """A model with its own limit."""

    max_tokens: int | None = None


class Capital(BaseModel):
    """A city."""

    name: str


@tool
def look_up(word: str) -> str:
    """Look up a word."""
    return word


TOOL = {"type": "function", "function": {"name": "look_up", "description": "word " * 100, "parameters": {}}}


@pytest.mark.parametrize(
    ("profile", "own", "kwargs", "room"),
    [
        (None, None, {}, None),
        ({}, 100, {"max_tokens": 100}, None),
        ({"max_input_tokens": 0}, None, {}, None),
        ({"max_input_tokens": 1000}, None, {}, 1000),
        ({"max_input_tokens": 1000}, 300, {}, 700),
        ({"max_input_tokens": 1000}, 300, {"max_tokens": 200}, 800),
        ({"max_input_tokens": 1000}, None, {"max_completion_tokens": 200}, 800),
        ({"max_input_tokens": 1000}, None, {"max_output_tokens": 200}, 800),
        ({"max_input_tokens": 1000, "max_output_tokens": 100}, None, {}, 900),
        ({"max_input_tokens": 1000, "max_output_tokens": 1000}, None, {}, 750),
        ({"max_input_tokens": 1000, "max_output_tokens": 1000}, 900, {}, 100),
        ({"max_input_tokens": 1000}, None, {"num_predict": 200}, 800),
        ({"max_input_tokens": 1000}, None, {"max_tokens": 1}, 999),
        # Some clients have no limit; the next one that has a limit counts.
        ({"max_input_tokens": 1000}, None, {"num_predict": -1}, 1000),
        ({"max_input_tokens": 1000}, 300, {"max_tokens": 0}, 700),
        # An answer as long as the window does not fit into it.
        ({"max_input_tokens": 1000}, 1000, {}, 1000),
        ({"max_input_tokens": 1000}, None, {"tools": [TOOL]}, 1000 - -(-len(json.dumps([TOOL])) // 4)),
        ({"max_input_tokens": 1000}, None, {"response_format": TOOL}, 1000 - -(-len(json.dumps(TOOL)) // 4)),
        ({"max_input_tokens": 1000}, None, {"temperature": 0.5, "stop": ["\n"], "tools": []}, 1000),
    ],
)
def test_the_room_is_what_is_left_of_the_window(
    profile: Any, own: int | None, kwargs: dict[str, Any], room: int | None
) -> None:
    assert room_for_messages(Model(responses=[], profile=profile, max_tokens=own), kwargs) == room


class Called(BaseModel):
    """The arguments of a user's own tool."""

    word: str


SCHEMA = Called.model_json_schema()


@pytest.mark.parametrize(
    ("kwargs", "sent"),
    [
        ({"response_format": Capital}, Capital.model_json_schema()),
        ({"tools": [look_up]}, [look_up.tool_call_schema.model_json_schema()]),  # type: ignore[union-attr]  # a dict for MCP's
        ({"tools": [Called, TOOL]}, [SCHEMA, TOOL]),
        ({"tools": [SimpleNamespace(tool_call_schema=Called)]}, [SCHEMA]),
        # Other forms of content count by their text.
        ({"tools": [Path("a")]}, ["a"]),
        ({"tools": [int]}, [str(int)]),
        ({"tools": [SimpleNamespace(tool_call_schema=str)]}, [str(SimpleNamespace(tool_call_schema=str))]),
        ({"tools": [SimpleNamespace(tool_call_schema=SCHEMA)]}, [str(SimpleNamespace(tool_call_schema=SCHEMA))]),
    ],
)
def test_what_is_no_plain_data_counts_as_its_schema(kwargs: dict[str, Any], sent: Any) -> None:
    room = room_for_messages(Model(responses=[], profile={"max_input_tokens": 1000}), kwargs)
    assert room == 1000 - -(-len(json.dumps(sent)) // 4)


def test_who_is_no_chat_model_has_no_window() -> None:
    assert room_for_messages(None, {"tools": [TOOL]}) is None
