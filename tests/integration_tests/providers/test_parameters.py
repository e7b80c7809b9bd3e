"""Parameters of a call: common ones reach each member in its own spelling or not at all; others only the aggregator."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.messages import HumanMessage

from langchain_moa import ChatMoA, Mixture
from langchain_moa.serving import make_app
from tests.providers import PROVIDERS, Answer, member
from tests.providers.asking import ask
from tests.providers.members import BUDGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import AIMessage

    from tests.providers import ProviderServer
    from tests.providers.protocol import Recorded

HI = [HumanMessage("Hi")]

# Where each protocol has a parameter in the body; `None` if it has none.
SPELLING: dict[str, dict[str, tuple[str, ...] | None]] = {
    "max_tokens": {
        "gemini": ("generationConfig", "maxOutputTokens"),
        "ollama": ("options", "num_predict"),
        "bedrock": ("inferenceConfig", "maxTokens"),
        "responses": ("max_output_tokens",),
        "openai": ("max_completion_tokens",),
        "openrouter": ("max_completion_tokens",),
    },
    "temperature": {
        "gemini": ("generationConfig", "temperature"),
        "ollama": ("options", "temperature"),
        "bedrock": ("inferenceConfig", "temperature"),
    },
    "top_p": {
        "gemini": ("generationConfig", "topP"),
        "ollama": ("options", "top_p"),
        "bedrock": ("inferenceConfig", "topP"),
        "cohere": ("p",),
    },
    "stop": {
        "gemini": ("generationConfig", "stopSequences"),
        "ollama": ("options", "stop"),
        "bedrock": ("inferenceConfig", "stopSequences"),
        "anthropic": ("stop_sequences",),
        "cohere": ("stop_sequences",),
        "responses": None,
        "xai": None,  # a reasoning model, for which the package itself leaves it out
    },
}
VALUES: dict[str, Any] = {"max_tokens": 64, "temperature": 0.25, "top_p": 0.5, "stop": ["END"]}


def sent(request: Recorded, name: str) -> Any:
    """Return a parameter from the body of a request."""
    path = SPELLING[name].get(request.vendor, (name,))
    value: Any = request.body
    for key in path or ():
        value = (value or {}).get(key)
    return value if path else None


def all_of_them(providers: ProviderServer, **options: Any) -> ChatMoA:
    proposers = [member(providers, each) for each in PROVIDERS]
    return ChatMoA(proposers=proposers, aggregator=member(providers, "openai"), **{"num_layers": 1, **options})


def failures(answer: AIMessage) -> dict[str, Any]:
    entries = [entry for layer in answer.response_metadata["moa"]["layers"] for entry in layer]
    return {entry["name"]: entry.get("error") for entry in entries if entry["status"] != "ok"}


@pytest.mark.parametrize("place", ["field", "call"])
@pytest.mark.parametrize("name", VALUES)
async def test_a_common_parameter_reaches_every_member(providers: ProviderServer, name: str, place: str) -> None:
    given = {name: VALUES[name]}
    moa = all_of_them(providers, **(given if place == "field" and name != "top_p" else {}))
    answer = await ask(moa, HI, "invoke", **(given if place == "call" or name == "top_p" else {}))
    assert not failures(answer)
    assert not providers.rules, [f"{request.vendor}: {request.refused}" for request in providers.refused]
    wrong = {
        r.vendor: sent(r, name)
        for r in providers.requests
        if sent(r, name) != VALUES[name] and SPELLING[name].get(r.vendor, "") is not None
    }
    assert not wrong


@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_first_example_of_the_readme(providers: ProviderServer, provider: str, mode: str) -> None:
    moa = ChatMoA(proposers=[member(providers, provider)], aggregator=member(providers, provider), num_layers=1)
    answer = await ask(moa, HI, mode, max_tokens=64, temperature=0)
    assert not failures(answer)
    assert not providers.rules, [str(request.refused) for request in providers.refused]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_self_moa_of_any_provider(providers: ProviderServer, provider: str) -> None:
    moa = ChatMoA.self_moa(member(providers, provider), samples=3)
    answer = await ask(moa, HI, "invoke")
    assert not failures(answer)
    assert not providers.rules, [str(request.refused) for request in providers.refused]
    temperatures = {sent(request, "temperature") for request in providers.requests[:-1]}
    assert len(temperatures) == 3


NO_TEMPERATURE = {"openai": "gpt-5.5", "responses": "gpt-6.1-sol", "anthropic": "claude-sonnet-5-5"}


@pytest.mark.parametrize("provider", NO_TEMPERATURE)
async def test_a_model_that_takes_no_temperature_gets_none(providers: ProviderServer, provider: str) -> None:
    plain, other = member(providers, provider, model=NO_TEMPERATURE[provider]), member(providers, "mistral")
    moa = ChatMoA(proposers=[plain, other], aggregator=plain, num_layers=1)
    answer = await ask(moa, HI, "invoke", temperature=0.25, top_p=0.5, stop=["END"], max_tokens=64)
    assert not failures(answer)
    assert not providers.rules, [str(request.refused) for request in providers.refused]
    assert sent(providers.calls("mistral-large-2512")[0], "temperature") == 0.25
    adjusted = answer.response_metadata["moa"]["adjusted"]
    assert "temperature" in str(adjusted)


async def test_what_was_changed_is_recorded_once(providers: ProviderServer) -> None:
    plain = member(providers, "openai", model="gpt-5.5")
    moa = ChatMoA(proposers=[plain, plain], aggregator=member(providers, "mistral"), num_layers=2)
    answer = await ask(moa, HI, "invoke", temperature=0.25)
    assert str(answer.response_metadata["moa"]["adjusted"]).count("gpt-5.5") == 1


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
@pytest.mark.parametrize("place", ["field", "call"])
async def test_a_limit_below_the_thinking_budget(providers: ProviderServer, provider: str, place: str) -> None:
    thinker = member(providers, provider, thinking=True)
    given = {"max_tokens": 64}
    moa = ChatMoA(proposers=[thinker], aggregator=thinker, num_layers=1, **(given if place == "field" else {}))  # type: ignore[arg-type]  # one key
    answer = await ask(moa, HI, "invoke", **(given if place == "call" else {}))
    assert not failures(answer)
    assert not providers.rules, [str(request.refused) for request in providers.refused]
    assert {sent(request, "max_tokens") for request in providers.requests} == {BUDGET + 64}
    assert "max_tokens" in str(answer.response_metadata["moa"]["adjusted"])


OWN: Mapping[str, tuple[str, Any]] = {
    "cache_control": ("anthropic", {"type": "ephemeral"}),
    "thinking": ("anthropic", {"type": "enabled", "budget_tokens": BUDGET}),
    "safety_settings": ("gemini", {}),
}


@pytest.mark.parametrize("name", OWN)
async def test_other_arguments_of_a_call_are_the_aggregators(providers: ProviderServer, name: str) -> None:
    owner, value = OWN[name]
    proposers = [member(providers, each) for each in PROVIDERS]
    moa = ChatMoA(proposers=proposers, aggregator=member(providers, owner), num_layers=1)
    answer = await ask(moa, HI, "invoke", **{name: value})
    assert not failures(answer)
    assert not providers.rules, [f"{request.vendor}: {request.refused}" for request in providers.refused]
    *drafts, last = providers.requests
    assert last.vendor == owner
    if value:
        assert name in last.text
        assert not [request.vendor for request in drafts if name in request.text]


async def test_null_in_the_settings_of_a_member_is_never_sent(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{providers.url_of('openai')}/v1")
    both: list[Any] = [{"model": "openai:gpt-4.1-nano", "settings": {"temperature": None}}, "openai:gpt-4.1"]
    moa = ChatMoA(proposers=both, aggregator="openai:gpt-4.1", num_layers=1, temperature=0.5)
    await ask(moa, HI, "invoke", temperature=0.25)
    assert sent(providers.calls("gpt-4.1-nano")[0], "temperature") is None
    assert {sent(request, "temperature") for request in providers.calls("gpt-4.1")} == {0.25}


async def test_the_preset_openai_takes_a_temperature(providers: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{providers.url_of('openai')}/v1")
    app = make_app(ChatMoA.from_preset("openai"))
    body = {"model": "moa", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://moa") as client:
        answer = await client.post("/v1/chat/completions", json=body, timeout=None)
    assert answer.status_code == 200, answer.text
    assert not providers.rules, [str(request.refused) for request in providers.refused]


def string_of(providers: ProviderServer, provider: str) -> dict[str, Any]:
    """Return a member as written in a file."""
    models = {"ollama": "ollama:qwen3:8b", "cohere": "cohere:command-a-03-2025"}
    return {"model": models[provider], "settings": {"base_url": providers.url_of(provider)}}


@pytest.mark.parametrize("provider", ["ollama", "cohere"])
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_a_timeout_holds_for_clients_that_have_none(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, provider: str, mode: str
) -> None:
    monkeypatch.setenv("COHERE_API_KEY", "test")
    never = threading.Event()
    slow = string_of(providers, provider)
    members: list[Any] = [slow, member(providers, "openai")]
    providers.script(slow["model"].partition(":")[2], Answer(text="late", hold=never))
    moa = ChatMoA(
        proposers=members,
        aggregator=member(providers, "openai"),
        num_layers=1,
        timeout=0.5,
        max_retries=0,
    )
    answer = await ask(moa, HI, mode)
    assert len(failures(answer)) == 1
    assert "time" in str(failures(answer)).lower()


@pytest.mark.parametrize("provider", ["ollama", "cohere"])
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_max_retries_holds_for_clients_that_have_none(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, provider: str, mode: str
) -> None:
    monkeypatch.setenv("COHERE_API_KEY", "test")
    broken = string_of(providers, provider)
    members: list[Any] = [broken, member(providers, "openai")]
    model = broken["model"].partition(":")[2]
    providers.script(model, Answer(text="busy", status=503))
    moa = ChatMoA(proposers=members, aggregator=member(providers, "openai"), num_layers=1, max_retries=2)
    await ask(moa, HI, mode)
    assert len([request for request in providers.requests if request.vendor == provider]) == 3


async def test_num_ctx_is_the_window_of_an_ollama_member(providers: ProviderServer) -> None:
    small = member(providers, "ollama", num_ctx=2048)
    providers.script("gpt-4.1", "word " * 12_000)
    moa = ChatMoA(proposers=[member(providers, "openai")], aggregator=small, num_layers=1)
    await ask(moa, HI, "invoke")
    assert len(providers.calls("qwen3:8b")[-1].text) < 4 * 2048


def test_a_profile_in_a_file_is_a_window(tmp_path: Any) -> None:
    file = tmp_path / "moa.yaml"
    written = "{model: 'ollama:qwen3:8b', settings: {profile: {max_input_tokens: 2048}}}"
    file.write_text(f"proposers: [{written}]\naggregator: {written}\nnum_layers: 1\n", encoding="utf-8")
    assert Mixture.from_config(file).num_layers == 1
