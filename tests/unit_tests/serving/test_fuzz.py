"""For any request, the client gets an answer or an error in OpenAI's form, never a 500."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit_tests.serving.app import app_of, client

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6
)

ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "refusal", "image_url", "input_audio", "file", "video"])},
    optional={"text": SCALARS, "refusal": SCALARS, "image_url": JSON, "input_audio": JSON, "file": JSON},
)
CALL = st.fixed_dictionaries(
    {"id": SCALARS, "type": st.just("function") | SCALARS},
    optional={"function": st.fixed_dictionaries({"name": SCALARS, "arguments": SCALARS | st.just('{"a": 1}')})},
)
MESSAGE = st.fixed_dictionaries(
    {"role": ROLES | JSON},
    optional={
        "content": st.text(max_size=8) | st.lists(PART | JSON, max_size=3) | JSON,
        "name": SCALARS,
        "tool_call_id": SCALARS,
        "tool_calls": st.lists(CALL | JSON, max_size=2) | JSON,
        "refusal": SCALARS,
    },
)
TOOL = st.fixed_dictionaries(
    {"type": st.just("function") | SCALARS},
    optional={"function": st.fixed_dictionaries({"name": st.text(max_size=4)}, optional={"parameters": JSON, "strict": JSON})},
)
FORM = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "json_object", "json_schema"])},
    optional={"json_schema": st.fixed_dictionaries({"name": SCALARS}, optional={"schema": JSON, "strict": SCALARS})},
)
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE | JSON, max_size=3) | JSON},
    optional={
        "stream": st.booleans() | JSON,
        "stream_options": JSON,
        "tools": st.lists(TOOL | JSON, max_size=2) | JSON,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | JSON,
        "response_format": FORM | JSON,
        "temperature": SCALARS,
        "max_tokens": SCALARS,
        "stop": JSON,
        "seed": SCALARS,
        "n": SCALARS,
        "logit_bias": JSON,
        "metadata": JSON,
        "unheard_of": SCALARS,
    },
)
GOOD: dict[str, Any] = {"model": "moa", "messages": [{"role": "user", "content": "Hi"}]}


def post(content: bytes, kind: str = "application/json", path: str = "/v1/chat/completions") -> httpx.Response:
    async def go() -> httpx.Response:
        async with client(app_of()) as http:
            return await http.post(path, content=content, headers={"content-type": kind})

    return asyncio.run(go())


def is_fine(answer: httpx.Response) -> bool:
    """Return whether a response is an answer, or an error in OpenAI's format."""
    if answer.status_code == 200:
        return answer.text.endswith("data: [DONE]\n\n") or answer.json()["object"] == "chat.completion"
    error = answer.json()["error"]
    return 400 <= answer.status_code < 500 and set(error) == {"message", "type", "param", "code"} and bool(error["message"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(BODY)
@example({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[1]"}}]}]})
@example({"messages": GOOD["messages"], "tools": [], "tool_choice": None, "response_format": {"type": "text"}})
@example({"messages": GOOD["messages"], "tool_choice": {"type": "function", "function": {"name": "f"}}})
@example({"messages": GOOD["messages"], "seed": 10**30, "max_tokens": 10**400})
def test_any_json(body: dict[str, Any]) -> None:
    # Values that Python allows but JSON does not, such as half a character, are not JSON to begin with.
    assert is_fine(post(json.dumps({"model": "moa", **body}).encode()))


ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning", "item_reference", "x"])
        | JSON,
        "role": ROLES | JSON,
        "content": st.text(max_size=8) | st.lists(PART | JSON, max_size=3) | JSON,
        "output": st.text(max_size=8) | JSON,
        "call_id": SCALARS,
        "name": SCALARS,
        "arguments": SCALARS | st.just('{"a": 1}'),
    },
)
RESPONSE = st.fixed_dictionaries(
    {"input": st.text(max_size=8) | st.lists(ITEM | JSON, max_size=4) | JSON},
    optional={
        "stream": st.booleans() | JSON,
        "instructions": SCALARS,
        "tools": st.lists(JSON | st.fixed_dictionaries({"type": st.just("function")}, optional={"name": SCALARS}), max_size=2),
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | JSON,
        "text": JSON | st.fixed_dictionaries({"format": FORM | JSON}),
        "reasoning": JSON,
        "max_output_tokens": SCALARS,
        "store": JSON,
        "metadata": JSON,
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(RESPONSE)
@example({"input": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": "[1]"}]})
@example({"input": [{"type": [None]}]})
@example({"input": "0", "tool_choice": {"": None}})
@example({"input": "0", "text": {"format": {"type": "text", "": None}}})
def test_any_json_for_a_response(body: dict[str, Any]) -> None:
    answer = post(json.dumps({"model": "moa", **body}).encode(), path="/v1/responses")
    if answer.status_code == 200:
        assert "response.completed" in answer.text or answer.json()["object"] == "response"
    else:
        assert is_fine(answer), answer.text


@settings(max_examples=100)
@given(st.binary(max_size=40))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"a": NaN}')
@example(b'"\\ud800"')
@example(b"1" * 10_000)
@example(b"\xef\xbb\xbf{}")
@example(json.dumps({**GOOD, "messages": [{"role": "user", "content": "\ud800"}]}).encode())
def test_any_bytes(content: bytes) -> None:
    answer = post(content)
    assert answer.status_code == 400
    assert is_fine(answer)


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_any_other_type(kind: str) -> None:
    assert post(json.dumps(GOOD).encode(), kind).status_code == 415


@settings(max_examples=50)
@given(st.text(max_size=12), st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]))
def test_any_path(path: str, method: str) -> None:
    async def go() -> httpx.Response:
        async with client(app_of()) as http:
            return await http.request(method, httpx.URL("http://localhost/v1/").join(f"x{path!a}"))

    answer = asyncio.run(go())
    assert answer.status_code in {404, 405}
    assert method == "HEAD" or is_fine(answer)


def test_wrong_values_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "langchain_moa.serving"):
        post(json.dumps({**GOOD, "temperature": "my secret"}).encode())
    assert "secret" not in caplog.text
