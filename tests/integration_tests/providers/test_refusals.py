"""The test servers are strict: each rejects what its provider rejects, in the provider's format, and names the rule."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.providers.conversation import sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.providers import ProviderServer

USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "assistant", "content": "Hello."}
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]


def calling(id_: str = "call_0", **more: Any) -> dict[str, Any]:
    call = {"id": id_, "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return {"role": "assistant", "content": "", "tool_calls": [call], **more}


def result(id_: str = "call_0") -> dict[str, Any]:
    return {"role": "tool", "content": "seen", "tool_call_id": id_}


def chat(*messages: Any, model: str = "a-model", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": list(messages) or [USER], **more}


def claude(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"max_tokens": 4096, **chat(*messages, **{"model": "claude-sonnet-4-6", **more})}


def parts(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def gemini(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"contents": list(contents) or [says("user", {"text": "Hi"})], **more}


def says(role: str, *told: Any) -> dict[str, Any]:
    return {"role": role, "parts": list(told)}


def converse(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages) or [block("user", {"text": "Hi"})], **more}


def block(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def respond(*items: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1", "input": list(items) or [USER], **more}


THINKING = {"type": "enabled", "budget_tokens": 1024}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": sign("anthropic", "claude-sonnet-4-6", "hm")}
OTHERS = {"type": "thinking", "thinking": "hm", "signature": sign("anthropic", "claude-opus-5", "hm")}
USE = {"type": "tool_use", "id": "toolu_0", "name": "look", "input": {}}
USED = {"type": "tool_result", "tool_use_id": "toolu_0", "content": "seen"}
CLAUDE_TOOLS = [{"name": "look", "input_schema": SCHEMA}]
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sign("responses", "gpt-6.1-sol", "hm")}
OUT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}
CALL_PART = {"functionCall": {"name": "look", "args": {}}}
SIGNED_PART = {**CALL_PART, "thoughtSignature": sign("gemini", "gemini-3.5-flash", "call")}
RESPONSE_PART = {"functionResponse": {"name": "look", "response": {"output": "seen"}}}
CONVERSE_USE = {"toolUse": {"toolUseId": "t0", "name": "look", "input": {}}}
CONVERSE_USED = {"toolResult": {"toolUseId": "t0", "content": [{"text": "seen"}]}}
TOOL_CONFIG = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": SCHEMA}}}]}
NINE = "abcdefgh1"

PATHS = {
    "anthropic": "/v1/messages",
    "bedrock": "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse",
    "cohere": "/v2/chat",
    "gemini": "/v1beta/models/gemini-3.5-flash:generateContent",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
}

VALID: Mapping[str, list[dict[str, Any]]] = {
    "openai": [
        chat(),
        chat(SYSTEM, USER, calling(), result(), USER, tools=TOOLS),
        chat(parts(text("Hi", index=0), {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}})),
        chat(model="gpt-5.5", max_completion_tokens=64),
        chat(USER, HELLO, HELLO, temperature=2, max_tokens=5, stop=["x"]),
    ],
    "groq": [chat(parts(text("Hi")), reasoning_format="parsed")],
    "deepseek": [chat(USER, HELLO, USER, thinking={"type": "enabled"})],
    "anthropic": [
        claude(),
        claude(parts(text("Hi", cache_control={"type": "ephemeral"})), system=[text("Be brief.")]),
        claude(USER, parts(SIGNED, USE, role="assistant"), parts(USED, text("And?")), tools=CLAUDE_TOOLS, thinking=THINKING),
        claude(USER, {"role": "assistant", "content": "Once upon"}, temperature=1),
        claude(USER, USER),
    ],
    "responses": [
        respond(),
        respond(USER, REASONING, OUT, USER, model="gpt-6.1-sol"),
        respond(
            USER,
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}", "id": "fc_1"},
            {"type": "function_call_output", "call_id": "c", "output": "seen"},
        ),
    ],
    "gemini": [
        gemini(),
        gemini(says("user", {"text": "Hi"}), says("model", SIGNED_PART), says("user", RESPONSE_PART)),
        gemini(
            says("user", {"text": "Hi"}),
            says("model", {"text": "Hello."}),
            says("user", {"text": "And?"}),
            generationConfig={"maxOutputTokens": 5},
        ),
    ],
    "mistral": [
        chat(SYSTEM, USER, calling(NINE), result(NINE), tools=TOOLS),
        chat(USER, USER, HELLO, USER),
        chat(
            USER,
            parts({"type": "thinking", "thinking": [text("hm")]}, text("Hello."), role="assistant"),
            USER,
            model="magistral-medium-2509",
        ),
    ],
    "ollama": [chat(USER, HELLO, USER, options={"num_predict": 5, "temperature": 0.5})],
    "cohere": [chat(SYSTEM, USER, HELLO, USER, p=0.5), chat(USER, calling(), result(), tools=TOOLS)],
    "bedrock": [
        converse(),
        converse(
            block("user", {"text": "Hi"}),
            block("assistant", CONVERSE_USE),
            block("user", CONVERSE_USED),
            toolConfig=TOOL_CONFIG,
        ),
    ],
}

REFUSED: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    "openai": [
        ("string-part", chat(parts("Hi"))),
        ("part-type", chat(parts({"type": "thinking", "thinking": "hm"}))),
        ("part-type", chat(USER, parts({"type": "image_url", "image_url": {"url": ""}}, role="assistant"), USER)),
        ("part-type", chat(USER, parts({"type": "reasoning", "reasoning": "hm"}, role="assistant"), USER)),
        (
            "part-type",
            chat(USER, calling(), {**result(), "content": [{"type": "image_url", "image_url": {"url": ""}}]}, tools=TOOLS),
        ),
        ("tool-without-call", chat(USER, result())),
        ("unanswered-tool-call", chat(USER, calling(), USER)),
        ("unanswered-tool-call", chat(USER, calling(), result("call_1"))),
        ("assistant-keys", chat(USER, {**HELLO, "reasoning_content": "hm"}, USER)),
        ("empty-assistant", chat(USER, {"role": "assistant", "content": None}, USER)),
        ("reasoning-temperature", chat(model="gpt-5.5", temperature=0)),
        ("reasoning-temperature", chat(model="o3", temperature=0.5)),
        ("reasoning-max_tokens", chat(model="gpt-6-luna", max_tokens=64)),
        ("reasoning-stop", chat(model="gpt-5.5", stop=["END"])),
        ("unknown-parameter", chat(top_k=40)),
        ("unknown-parameter", chat(cache_control={"type": "ephemeral"})),
        ("two-limits", chat(max_tokens=5, max_completion_tokens=5)),
        ("temperature-range", chat(temperature=2.5)),
        ("empty-tools", chat(tools=[])),
        ("stream-options", chat(stream_options={"include_usage": True})),
        ("role", chat({"role": "human", "content": "Hi"})),
        ("messages-required", {"model": "a-model", "messages": []}),
    ],
    "groq": [("text-keys", chat(parts(text("Hi", index=0)))), ("unknown-parameter", chat(top_k=40))],
    "xai": [("text-keys", chat(parts(text("Hi", annotations=[])))), ("unknown-parameter", chat(logit_bias={}))],
    "fireworks": [("text-keys", chat(parts(text("Hi", index=0))))],
    "together": [("text-keys", chat(parts(text("Hi", id="x"))))],
    "openrouter": [("text-keys", chat(parts(text("Hi", annotations=[]))))],
    "deepseek": [
        ("strings-only", chat(parts(text("Hi")))),
        ("assistant-keys", chat(USER, {**HELLO, "reasoning_content": "hm"}, USER)),
    ],
    "anthropic": [
        ("role", claude(SYSTEM, USER)),
        ("first-user", claude(HELLO, USER)),
        ("system-blocks", claude(system=[{"type": "image"}])),
        ("empty-system", claude(system=[text("")])),
        ("empty-message", claude({"role": "user", "content": ""})),
        ("empty-message", claude(USER, {"role": "assistant", "content": []}, USER)),
        ("blank-text", claude(parts(text("  ")))),
        ("blank-text", claude({"role": "user", "content": " \n"})),
        ("text-keys", claude(parts(text("Hi", index=0)))),
        ("part-type", claude(USER, parts({"type": "reasoning", "summary": []}, role="assistant"), USER)),
        ("part-type", claude(parts({"type": "image_url", "image_url": {"url": ""}}))),
        ("string-part", claude(parts("Hi"))),
        ("unanswered-tool-call", claude(USER, parts(USE, role="assistant"), USER, tools=CLAUDE_TOOLS)),
        ("unanswered-tool-call", claude(USER, parts(USE, role="assistant"), tools=CLAUDE_TOOLS)),
        ("tools-required", claude(USER, parts(USE, role="assistant"), parts(USED))),
        ("tool-without-call", claude(parts(USED), tools=CLAUDE_TOOLS)),
        ("prefill", claude(USER, HELLO, model="claude-opus-5")),
        ("foreign-signature", claude(USER, parts(OTHERS, text("Hello."), role="assistant"), USER)),
        ("foreign-signature", claude(USER, parts({**SIGNED, "thinking": "changed"}, role="assistant"), USER)),
        ("signature-required", claude(USER, parts({"type": "thinking", "thinking": "hm"}, role="assistant"), USER)),
        ("max-tokens-required", chat(model="claude-sonnet-4-6")),
        ("budget-below-max-tokens", claude(thinking=THINKING, max_tokens=64)),
        ("thinking-temperature", claude(thinking=THINKING, temperature=0)),
        ("thinking-forced-tool", claude(thinking=THINKING, tools=CLAUDE_TOOLS, tool_choice={"type": "any"})),
        ("temperature-and-top-p", claude(temperature=0.5, top_p=0.5)),
        ("temperature-range", claude(temperature=1.5)),
        ("no-temperature", claude(model="claude-sonnet-5-5", temperature=0)),
        ("blank-stop", claude(stop_sequences=["\n"])),
        ("unknown-parameter", claude(safety_settings={})),
    ],
    "responses": [
        ("id-prefix", respond(USER, {**OUT, "id": "lc_run--1"}, USER)),
        (
            "id-prefix",
            respond(USER, {"type": "function_call", "id": "toolu_1", "call_id": "c", "name": "look", "arguments": "{}"}),
        ),
        ("reasoning-alone", respond(USER, REASONING, model="gpt-6.1-sol")),
        ("reasoning-alone", respond(USER, REASONING, USER, model="gpt-6.1-sol")),
        ("foreign-encrypted-content", respond(USER, REASONING, OUT, USER, model="gpt-5.5")),
        ("item-not-found", respond(USER, {"type": "reasoning", "id": "rs_7", "summary": []}, OUT, USER, model="gpt-5.5")),
        ("previous-response", respond(previous_response_id="resp_unknown")),
        ("reasoning-temperature", respond(model="gpt-6.1-sol", temperature=0)),
        ("cache-control", respond(parts({"type": "input_text", "text": "Hi", "cache_control": {"type": "ephemeral"}}))),
        ("part-type", respond(USER, parts({"type": "thinking", "thinking": "hm"}, role="assistant"), USER)),
        ("item-type", respond(USER, {"type": "tool_use", "id": "x"})),
        ("unanswered-tool-call", respond(USER, {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"})),
        ("chat-parameters", respond(max_tokens=5)),
    ],
    "gemini": [
        ("role", gemini(says("assistant", {"text": "Hi"}))),
        ("empty-parts", gemini(says("user"))),
        ("empty-part", gemini(says("user", {"text": ""}))),
        ("ends-with-model", gemini(says("user", {"text": "Hi"}), says("model", {"text": "Hello."}))),
        (
            "function-response-count",
            gemini(says("user", {"text": "Hi"}), says("model", SIGNED_PART), says("user", {"text": "And?"})),
        ),
        (
            "function-response-count",
            gemini(says("user", {"text": "Hi"}), says("model", SIGNED_PART), says("user", RESPONSE_PART, RESPONSE_PART)),
        ),
        ("signature-required", gemini(says("user", {"text": "Hi"}), says("model", CALL_PART), says("user", RESPONSE_PART))),
        (
            "foreign-signature",
            gemini(
                says("user", {"text": "Hi"}),
                says("model", {**CALL_PART, "thoughtSignature": sign("gemini", "gemini-4-argon", "call")}),
                says("user", RESPONSE_PART),
            ),
        ),
        ("unknown-parameter", gemini(generationConfig={"max_tokens": 5})),
        ("unknown-parameter", gemini(thinking=THINKING)),
    ],
    "mistral": [
        ("last-role", chat(USER, HELLO)),
        ("system-in-front", chat(SYSTEM, SYSTEM, USER)),
        ("system-in-front", chat(USER, HELLO, SYSTEM, USER)),
        ("user-after-tool", chat(USER, calling(NINE), result(NINE), USER, tools=TOOLS)),
        ("two-assistants", chat(USER, HELLO, HELLO, USER)),
        ("tool-id", chat(USER, calling("call_0"), result("call_0"), tools=TOOLS)),
        ("unanswered-tool-call", chat(USER, calling(NINE), USER, tools=TOOLS)),
        ("part-type", chat(USER, parts({"type": "reasoning", "summary": []}, role="assistant"), USER)),
        ("thinking-chunk", chat(USER, parts({"type": "thinking", "thinking": [text("hm")]}, role="assistant"), USER)),
        (
            "thinking-chunk",
            chat(
                USER,
                parts({"type": "thinking", "thinking": "hm", "signature": "x"}, role="assistant"),
                USER,
                model="magistral-medium-2509",
            ),
        ),
        ("message-keys", chat(USER, {**HELLO, "reasoning_content": "hm"}, USER)),
        ("text-keys", chat(USER, parts(text("Hello.", index=0), role="assistant"), USER)),
        ("empty-assistant", chat(USER, {"role": "assistant", "content": ""}, USER)),
        ("unknown-parameter", chat(max_completion_tokens=5)),
    ],
    "ollama": [
        ("content-string", chat(parts(text("Hi")))),
        ("unknown-parameter", chat(temperature=0.5)),
        ("unknown-parameter", chat(options={"max_tokens": 5})),
        ("arguments-object", chat(USER, calling(), result())),
        ("role", chat({"role": "developer", "content": "Hi"})),
    ],
    "cohere": [
        ("part-type", chat(parts({"type": "document", "source": {}}))),
        ("part-type", chat(USER, parts({"type": "reasoning", "summary": []}, role="assistant"), USER)),
        ("empty-message", chat({"role": "user", "content": ""})),
        ("last-role", chat(USER, HELLO)),
        ("unanswered-tool-call", chat(USER, calling(), USER)),
        ("temperature-range", chat(temperature=1.5)),
        ("unknown-parameter", chat(top_p=0.5)),
    ],
    "bedrock": [
        ("alternating-roles", converse(block("user", {"text": "Hi"}), block("user", {"text": "Hi"}))),
        ("first-user", converse(block("assistant", {"text": "Hi"}), block("user", {"text": "Hi"}))),
        ("last-user", converse(block("user", {"text": "Hi"}), block("assistant", {"text": "Hi"}))),
        ("blank-text", converse(block("user", {"text": " "}))),
        ("blank-text", converse(system=[{"text": ""}])),
        (
            "tool-config",
            converse(block("user", {"text": "Hi"}), block("assistant", CONVERSE_USE), block("user", CONVERSE_USED)),
        ),
        (
            "unanswered-tool-call",
            converse(
                block("user", {"text": "Hi"}),
                block("assistant", CONVERSE_USE),
                block("user", {"text": "And?"}),
                toolConfig=TOOL_CONFIG,
            ),
        ),
        (
            "block-type",
            converse(block("user", {"text": "Hi"}), block("assistant", {"serverToolUse": {}}), block("user", {"text": "Hi"})),
        ),
        (
            "foreign-signature",
            converse(
                block("user", {"text": "Hi"}),
                block("assistant", {"reasoningContent": {"reasoningText": {"text": "hm", "signature": OTHERS["signature"]}}}),
                block("user", {"text": "Hi"}),
            ),
        ),
        (
            "budget-below-max-tokens",
            converse(inferenceConfig={"maxTokens": 64}, additionalModelRequestFields={"thinking": THINKING}),
        ),
        ("temperature-range", converse(inferenceConfig={"temperature": 1.5})),
        ("unknown-parameter", converse(inferenceConfig={"max_tokens": 5})),
    ],
}


def post(providers: ProviderServer, vendor: str, body: dict[str, Any]) -> httpx.Response:
    url = providers.url_of(vendor) + PATHS.get(vendor, "/v1/chat/completions")
    headers = {"authorization": "Bearer test", "x-api-key": "test"}
    given = copy.deepcopy(body) if vendor != "ollama" else {"stream": False, **body}
    return httpx.post(url, json=given, headers=headers, timeout=60, trust_env=False)


@pytest.mark.parametrize(
    ("vendor", "place"), [(vendor, place) for vendor, bodies in VALID.items() for place in range(len(bodies))]
)
def test_what_the_provider_takes_is_answered(providers: ProviderServer, vendor: str, place: int) -> None:
    answer = post(providers, vendor, VALID[vendor][place])
    assert answer.status_code == 200, answer.text
    assert not providers.refused


@pytest.mark.parametrize(
    ("vendor", "place"),
    [
        pytest.param(vendor, place, id=f"{vendor}-{rule}-{place}")
        for vendor, cases in REFUSED.items()
        for place, (rule, _) in enumerate(cases)
    ],
)
def test_what_the_provider_refuses_is_refused(providers: ProviderServer, vendor: str, place: int) -> None:
    rule, body = REFUSED[vendor][place]
    answer = post(providers, vendor, body)
    assert providers.rules == [rule], answer.text
    assert answer.status_code == 400
    assert rule in answer.text
