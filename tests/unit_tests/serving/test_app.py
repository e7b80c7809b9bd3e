"""The application: its settings, hosts, origins, paths and log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from langchain_moa import ChatMoA
from langchain_moa.serving import make_app
from langchain_moa.serving.chat import ChatRequest
from langchain_moa.serving.server import LOOPBACK_NAMES
from tests.unit_tests.serving.app import HI, Foreign, app_of, client, post


async def test_long_paths_methods_and_many_parameters_are_logged_in_short(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "langchain_moa")
    async with client(app_of()) as http:
        await http.get(f"/{'a' * 5000}")
        await http.request("A" * 5000, "/health")
    await post(app_of(), **{f"p{number}": 1 for number in range(500)})
    path, method, parameters = caplog.messages
    assert max(len(path), len(method)) < 400
    assert "p19,and 480 more" in parameters
    assert "p20" not in parameters


async def test_other_host_names_are_refused() -> None:
    app = app_of(allowed_hosts=LOOPBACK_NAMES)
    async with client(app) as http:
        for host, status in {"localhost:8000": 200, "[::1]:80": 200, "LOCALHOST": 200, "evil.example": 400, "": 400}.items():
            assert (await http.get("/v1/models", headers={"host": host})).status_code == status


async def test_requests_that_arrive_together_begin_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    turn, begun = 0, []

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def read(*args: Any, **options: Any) -> Any:
        begun.append(turn)
        return original(*args, **options)

    original = ChatRequest.read
    monkeypatch.setattr(ChatRequest, "read", read)
    counting = asyncio.create_task(count())
    async with client(app_of()) as http:
        body = {"model": "moa", "messages": HI}
        answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=body) for _ in range(20)))
    counting.cancel()
    assert [answer.status_code for answer in answers] == [200] * 20
    # Between two of them the event loop looks at its connections.
    assert len({*begun}) == 20


async def test_it_can_be_mounted() -> None:
    app = Starlette(routes=[Mount("/ai", app_of(api_keys=["a-key-of-this-test"]))])
    async with client(app) as http:
        assert (await http.get("/ai/health")).status_code == 200
        assert (await http.get("/ai/v1/models")).status_code == 401
        key = {"authorization": "Bearer a-key-of-this-test"}
        answer = await http.post("/ai/v1/chat/completions", json={"model": "moa", "messages": HI}, headers=key)
        assert answer.status_code == 200


async def test_bugs_are_errors_in_openais_form(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def breaks(*_: Any) -> None:
        msg = "a secret detail"
        raise TypeError(msg)

    monkeypatch.setattr("langchain_moa.serving.chat.ChatRequest.read", breaks)
    answer = await post(app_of())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret detail" not in answer.text
    assert caplog.text.count("unexpected TypeError") == 1


@pytest.mark.parametrize(
    ("mixtures", "options", "words"),
    [
        ({}, {}, "give at least one"),
        ({"x": Foreign()}, {}, "'x' is a Foreign; give a ChatMoA"),
        (None, {"api_keys": ["short"]}, "API key 1: a key must have at least 16"),
        (None, {"api_keys": ["a-good-key-of-a-client", "ключ-в-шестнадцать-букв"]}, "API key 2"),
        (None, {"api_keys": "a-good-key-of-a-client"}, "give a list of keys"),
        (None, {"api_keys": ["a name: a-good-key-of-a-client"]}, "API key 1: a name has up to 64"),
        (None, {"progress": "much"}, "progress: 'much' is unknown"),
        (None, {"task_models": {"x": Foreign()}}, "task_models: there is no mixture 'x'"),
        (None, {"timeout": 0}, "timeout: 0 must be above 0"),
        (None, {"max_requests": -1}, "max_requests: -1 must be above 0"),
    ],
)
def test_wrong_settings_are_found_when_the_application_is_made(mixtures: Any, options: dict[str, Any], words: str) -> None:
    given = ChatMoA(proposers=[Foreign()], aggregator=Foreign(), num_layers=1) if mixtures is None else mixtures
    with pytest.raises(ValueError, match=words) as caught:
        make_app(given, **options)
    assert "of-a-client" not in str(caught.value)


@pytest.mark.parametrize(
    "origin", ["https://chat.example/", "https://chat.example/app", "chat.example", "https://", "https://Chat.example"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=r"cors_origins: .* is not an origin; write it in lower case and without a path"):
        app_of(cors_origins=[origin])


@pytest.mark.parametrize("name", ["allowed_hosts", "cors_origins", "link_domains"])
def test_a_text_is_no_list(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: give a list, \['a.example'\]"):
        app_of(**{name: "a.example"})


async def test_cors_for_allowed_origins() -> None:
    preflight = {
        "origin": "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with client(app_of(cors_origins=["https://chat.example"], api_keys=["a-key-of-this-test"])) as http:
        answer = await http.options("/v1/chat/completions", headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://chat.example")
        # Its errors can be read as well.
        answer = await http.get("/v1/models", headers={"origin": "https://chat.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "https://chat.example")
        answer = await http.get("/health", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
    async with client(app_of()) as http:
        assert (await http.options("/v1/chat/completions", headers=preflight)).status_code == 405


@pytest.mark.parametrize(("path", "words"), [("/v1/messages", "/v1/responses"), ("/v1/completions", "/v1/chat/completions")])
async def test_unsupported_apis_name_the_alternative(path: str, words: str) -> None:
    async with client(app_of()) as http:
        answer = await http.post(path, json={})
    assert answer.status_code == 404
    assert words in answer.json()["error"]["message"]
