"""A model that follows instructions: tools, structured output, plain text.

It decides by the request's tools and by its user and tool messages, and ignores the system
message, so that additions to the system message make no difference.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.loopback.recorded import last_user_text, text_of
from tests.loopback.reply import Reply, ToolCall
from tests.loopback.schema import Maker, numbers
from tests.loopback.script import echo

if TYPE_CHECKING:
    from tests.loopback.reply import Body
    from tests.loopback.schema import Schema

_NUMERIC = {"integer", "number"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SAYS_NOTHING = {"get", "set", "the", "tool", "and", "for", "call", "function", "use", "run"}


def able(body: Body) -> Reply:
    """Answer like a capable model, deterministically.

    It calls the tools that fit the last user message and were not called since, all at
    once, or one at a time with `parallel_tool_calls=False`. With a `tool_choice` of
    `required`, it always calls one. When none is left, it answers: from the tools'
    results, as an instance of the `response_format`, or with an echo.
    """
    text = last_user_text(body["messages"])
    if calls := _calls(body, text):
        return Reply(tool_calls=calls)
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return Reply(_json(Maker(schema, text).make()))
        case {"type": "json_object"}:
            keys = re.findall(r"['\"`](\w+)['\"`]", text) or ["answer"]
            return Reply(_json(Maker({"type": "object", "required": keys}, "").make()))
    if results := [text_of(m.get("content")) for m in _since_user(body, "tool")]:
        return Reply(f"{body['model']} found: {'; '.join(results)}")
    return echo(body)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _since_user(body: Body, role: str) -> list[dict[str, Any]]:
    messages = body["messages"]
    users = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return [m for m in messages[users[-1] + 1 if users else 0 :] if m["role"] == role]


def _calls(body: Body, text: str) -> list[ToolCall]:
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    match body.get("tool_choice", "auto"):
        case "none":
            return []
        case {"function": {"name": name}}:
            return [_call(tools[name], text)]
        case choice:
            called = {
                call["function"]["name"]
                for message in _since_user(body, "assistant")
                for call in message.get("tool_calls") or ()
            }
            fresh = [tool for name, tool in tools.items() if name not in called]
            chosen = [tool for tool in fresh if _fits(tool, text)]
            if choice == "required" and not chosen:
                chosen = (fresh or list(tools.values()))[:1]
            if body.get("parallel_tool_calls") is False:
                chosen = chosen[:1]
            return [_call(tool, text) for tool in chosen]


def _call(tool: dict[str, Any], text: str) -> ToolCall:
    return ToolCall(tool["name"], Maker(_parameters(tool), text).make())


def _parameters(tool: dict[str, Any]) -> Schema:
    return {"type": "object", **(tool.get("parameters") or {})}


def _fits(tool: dict[str, Any], text: str) -> bool:
    if tool["name"].lower() in text.lower() or _words(tool["name"]) & _words(text):
        return True
    parameters = _parameters(tool)
    needed = [parameters.get("properties", {}).get(key, {}) for key in parameters.get("required", ())]
    arithmetic = bool(needed) and all(schema.get("type") in _NUMERIC for schema in needed)
    return arithmetic and len(numbers(text)) >= len(needed)


def _words(text: str) -> set[str]:
    words = {word.lower() for word in _WORD.findall(text)}
    return {word for word in words if len(word) > 2} - _SAYS_NOTHING
