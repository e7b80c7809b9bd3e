"""Keys and custom servers: a provider's key is sent to the provider's address only."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage
from pydantic import SecretStr
from typer.testing import CliRunner

from langchain_moa import ChatMoA, Mixture
from langchain_moa.cli.app import app
from tests.providers import Answer, member
from tests.providers.asking import ask

if TYPE_CHECKING:
    from pathlib import Path

    from tests.providers import ProviderServer

SECRET = "sk-the-key-of-openai-0123456789"
OTHER = "sk-another-key-0123456789abcdef"
HI = [HumanMessage("Hi")]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def written(providers: ProviderServer, **settings: Any) -> dict[str, Any]:
    """Return a member with its own address, as written in a file."""
    return {"model": "openai:gpt-4.1", "settings": {"base_url": f"{providers.url_of('openai')}/v1", **settings}}


def in_file(folder: Path, *members: Any, **more: Any) -> Path:
    first, *_ = members
    file = folder / "moa.yaml"
    file.write_text(
        yaml.safe_dump({"proposers": list(members), "aggregator": first, "num_layers": 1, **more}), encoding="utf-8"
    )
    return file


def headers(providers: ProviderServer) -> set[str]:
    return {request.headers.get("authorization", "") for request in providers.requests}


async def test_another_address_on_this_machine_gets_no_key(providers: ProviderServer) -> None:
    moa = ChatMoA(proposers=[written(providers)], aggregator=written(providers), num_layers=1)
    await ask(moa, HI, "invoke")
    assert len(providers.requests) == 2
    assert not [header for header in headers(providers) if SECRET in header]


async def test_an_address_on_this_machine_needs_no_key(providers: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    moa = ChatMoA(proposers=[written(providers)], aggregator=written(providers), num_layers=1)
    assert (await ask(moa, HI, "invoke")).text


@pytest.mark.parametrize("key", ["EMPTY", "none", "not-needed"])
async def test_a_placeholder_is_no_secret(providers: ProviderServer, tmp_path: Path, key: str) -> None:
    file = in_file(tmp_path, written(providers, api_key=key))
    await ask(ChatMoA.from_config(file), HI, "invoke")
    assert headers(providers) == {f"Bearer {key}"}


async def test_a_file_names_another_key(providers: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_OWN_KEY", OTHER)
    file = in_file(tmp_path, written(providers, api_key="${MY_OWN_KEY}"))
    await ask(ChatMoA.from_config(file), HI, "invoke")
    assert headers(providers) == {f"Bearer {OTHER}"}
    assert OTHER not in file.read_text(encoding="utf-8")


def test_a_file_names_a_key_that_is_not_set(providers: ProviderServer, tmp_path: Path) -> None:
    file = in_file(tmp_path, written(providers, api_key="${NOT_SET_ANYWHERE}"))
    with pytest.raises(ValueError, match="NOT_SET_ANYWHERE"):
        Mixture.from_config(file)


def test_an_address_elsewhere_needs_a_named_key(tmp_path: Path) -> None:
    # Files in a cloned folder must not send a key to their address.
    stranger = {"model": "openai:gpt-4.1", "settings": {"base_url": "https://stranger.example/v1"}}
    file = in_file(tmp_path, stranger)
    with pytest.raises(ValueError, match=r"api_key"):
        Mixture.from_config(file)


def test_a_key_in_clear_is_refused_in_a_file(providers: ProviderServer, tmp_path: Path) -> None:
    file = in_file(tmp_path, written(providers, api_key=OTHER))
    with pytest.raises(ValueError, match=r"api_key") as caught:
        Mixture.from_config(file)
    assert OTHER not in str(caught.value)


def test_a_key_in_clear_is_refused_on_the_command_line(providers: ProviderServer, tmp_path: Path) -> None:
    file = in_file(tmp_path, written(providers))
    done = CliRunner().invoke(app, ["ask", "--config", str(file), "--set", f"api_key={OTHER}", "Hi"])
    assert done.exit_code != 0
    assert OTHER not in done.output
    assert not providers.requests


@pytest.mark.parametrize("key", [OTHER, SecretStr(OTHER)], ids=["string", "SecretStr"])
async def test_in_python_a_key_is_fine(providers: ProviderServer, key: Any) -> None:
    moa = ChatMoA(proposers=[written(providers, api_key=key)], aggregator=written(providers, api_key=key), num_layers=1)
    await ask(moa, HI, "invoke")
    assert headers(providers) == {f"Bearer {OTHER}"}
    assert OTHER not in repr(moa)


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
async def test_a_gateway_of_the_environment_gets_the_key(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"{providers.url_of('openai')}/v1")
    await ask(ChatMoA(proposers=["openai:gpt-4.1"], aggregator="openai:gpt-4.1", num_layers=1), HI, "invoke")
    assert headers(providers) == {f"Bearer {SECRET}"}


async def test_the_key_of_a_mixture_goes_to_no_other_vendor(providers: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", OTHER)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{providers.url_of('openai')}/v1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", providers.url_of("anthropic"))
    members = ["openai:gpt-4.1", "anthropic:claude-sonnet-4-6"]
    await ask(ChatMoA(proposers=members, aggregator=members[0], num_layers=1), HI, "invoke")
    for request in providers.requests:
        own, foreign = (SECRET, OTHER) if request.vendor == "openai" else (OTHER, SECRET)
        assert own in str(request.headers)
        assert foreign not in str(request.headers)


# Strings with credentials other than API keys that init_chat_model accepts.
STRINGS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "Bedrock, access keys": (
        "bedrock_converse:anthropic.claude-haiku-4-5-20251001-v1:0",
        {"region_name": "us-east-1"},
        {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"},
    ),
    "Azure, a token": (
        "azure_openai:gpt-4.1",
        {"azure_endpoint": "https://example.openai.azure.com", "api_version": "2025-04-01-preview"},
        {"AZURE_OPENAI_AD_TOKEN": "a-token"},
    ),
    "Gemini, GOOGLE_API_KEY": ("google_genai:gemini-3.5-flash", {}, {"GOOGLE_API_KEY": "a-key"}),
    "Gemini, GEMINI_API_KEY": ("google_genai:gemini-3.5-flash", {}, {"GEMINI_API_KEY": "a-key"}),
}


@pytest.mark.parametrize("kind", STRINGS)
def test_a_string_that_langchain_accepts_is_accepted(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    model, settings, environment = STRINGS[kind]
    for name in ("AWS_PROFILE", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    one = {"model": model, "settings": settings}
    made = Mixture(proposers=[one], aggregator=one, num_layers=1).members.aggregator.chat_model
    assert type(made) is type(init_chat_model(model, **settings))


@pytest.mark.parametrize(
    "model", ["anthropic:claude-sonnet-4-6", "mistralai:mistral-large-2512", "groq:qwen/qwen3-32b", "xai:grok-3-mini"]
)
def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    names = {"anthropic": "ANTHROPIC_API_KEY", "mistralai": "MISTRAL_API_KEY", "groq": "GROQ_API_KEY", "xai": "XAI_API_KEY"}
    variable = names[model.partition(":")[0]]
    for name in names.values():
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=variable):
        Mixture(proposers=[model], aggregator=model, num_layers=1)


async def test_members_at_one_address_share_a_limit(providers: ProviderServer) -> None:
    slots = {"now": 0, "most": 0}
    lock, gate = threading.Lock(), threading.Event()

    def slow(_: Any) -> Answer:
        with lock:
            slots["now"] += 1
            slots["most"] = max(slots["most"], slots["now"])
        gate.wait(0.2)
        with lock:
            slots["now"] -= 1
        return Answer(text="One slot.")

    providers.script("gpt-4.1", slow)
    one = {**written(providers), "max_concurrency": 1}
    moa = ChatMoA(proposers=[one] * 5, aggregator=member(providers, "ollama"), num_layers=1)
    await ask(moa, HI, "ainvoke")
    assert slots["most"] == 1


# How a member is written for each protocol: the model, and what follows the server's address.
MEMBERS = {
    "anthropic": ("anthropic:claude-sonnet-4-6", ""),
    "bedrock": ("bedrock_converse:anthropic.claude-haiku-4-5-20251001-v1:0", ""),
    "cohere": ("cohere:command-a-03-2025", ""),
    "deepseek": ("deepseek:deepseek-chat", "/v1"),
    "fireworks": ("fireworks:accounts/fireworks/models/glm-5p2", ""),
    "gemini": ("google_genai:gemini-3.5-flash", ""),
    "groq": ("groq:qwen/qwen3-32b", ""),
    "mistral": ("mistralai:mistral-large-2512", "/v1"),
    "ollama": ("ollama:qwen3:8b", ""),
    "openai": ("openai:gpt-4.1", "/v1"),
    "together": ("together:zai-org/GLM-5.3", "/v1"),
    "xai": ("xai:grok-3-mini", "/v1"),
}
# All variables from which one of these clients reads a credential by itself.
VARIABLES = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY", "CO_API_KEY", "COHERE_API_KEY", "DEEPSEEK_API_KEY"),
    *("FIREWORKS_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "OLLAMA_API_KEY"),
    *("OPENAI_ADMIN_KEY", "OPENAI_API_KEY", "TOGETHER_API_KEY", "XAI_API_KEY"),
)


def of_own(providers: ProviderServer, vendor: str, **settings: Any) -> dict[str, Any]:
    model, end = MEMBERS[vendor]
    region = {"region_name": "us-east-1"} if vendor == "bedrock" else {}
    return {"model": model, "settings": {"base_url": f"{providers.url_of(vendor)}{end}", **region, **settings}}


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
@pytest.mark.parametrize("vendor", MEMBERS)
async def test_no_credential_of_the_environment_goes_to_another_address(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, vendor: str, mode: str
) -> None:
    for number, name in enumerate(VARIABLES):
        monkeypatch.setenv(name, f"canary-{number}-0123456789abcdef")
    one = of_own(providers, vendor)
    await ask(ChatMoA(proposers=[one], aggregator=one, num_layers=1), HI, mode)
    assert len(providers.requests) == 2
    shown = [value for request in providers.requests for value in request.headers.values() if "canary" in value]
    # A signature contains the access key's id, but no secret.
    assert [value for value in shown if not value.startswith("AWS4-HMAC-SHA256")] == []


@pytest.mark.parametrize("vendor", MEMBERS)
async def test_the_key_that_is_named_goes_to_another_address(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vendor: str
) -> None:
    for number, name in enumerate(VARIABLES):
        monkeypatch.setenv(name, f"canary-{number}-0123456789abcdef")
    monkeypatch.setenv("MY_OWN_KEY", OTHER)
    file = in_file(tmp_path, of_own(providers, vendor, api_key="${MY_OWN_KEY}"))
    await ask(ChatMoA.from_config(file), HI, "invoke")
    assert len(providers.requests) == 2
    for request in providers.requests:
        assert OTHER in str(request.headers)
        assert "canary" not in str(request.headers)


def test_a_token_that_no_setting_holds_back_is_refused(providers: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # AWS's library uses it even if a client is given access keys.
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", SECRET)
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": OTHER}
    one = of_own(providers, "bedrock", **keys)
    with pytest.raises(ValueError, match="AWS_BEARER_TOKEN_BEDROCK") as caught:
        Mixture(proposers=[one], aggregator=one)
    assert SECRET not in str(caught.value)


async def test_a_header_refers_to_a_key(providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_OWN_KEY", OTHER)
    file = in_file(tmp_path, written(providers, default_headers={"Authorization": "Bearer ${MY_OWN_KEY}", "X-Team": "${HOME}"}))
    await ask(ChatMoA.from_config(file), HI, "invoke")
    assert headers(providers) == {f"Bearer {OTHER}"}
    # Only fields with the name of a key can refer to a variable.
    assert {request.headers["x-team"] for request in providers.requests} == {"${HOME}"}


async def test_a_file_may_name_the_gateway_of_the_environment(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{providers.url_of('openai')}/v1/")
    await ask(ChatMoA.from_config(in_file(tmp_path, written(providers))), HI, "invoke")
    assert headers(providers) == {f"Bearer {SECRET}"}


async def test_the_gateway_of_another_provider_is_not_ones_own(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{providers.url_of('openai')}/v1")
    one = written(providers)
    await ask(ChatMoA(proposers=[one], aggregator=one, num_layers=1), HI, "invoke")
    assert not [header for header in headers(providers) if SECRET in header]


async def test_the_key_of_a_mixture_is_named_in_its_file(
    providers: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_OWN_KEY", OTHER)
    own = written(providers, api_key="none")
    file = in_file(tmp_path, written(providers), own, api_key="${MY_OWN_KEY}")
    moa = ChatMoA.from_config(file)
    await ask(moa, HI, "invoke")
    sent = [request.headers["authorization"] for request in providers.requests]
    assert sorted(sent) == ["Bearer none", f"Bearer {OTHER}", f"Bearer {OTHER}"]
    assert OTHER not in f"{moa!r} {moa.describe()} {moa.model_dump_json(exclude={'proposers', 'aggregator'})}"


def test_the_command_line_refers_to_a_key(providers: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_OWN_KEY", OTHER)
    arguments = ["ask", "--config", str(in_file(tmp_path, written(providers))), "--set", "api_key=${MY_OWN_KEY}", "Hi"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert headers(providers) == {f"Bearer {OTHER}"}
    assert OTHER not in done.output


def test_to_look_at_a_mixture_no_key_needs_to_be_set(providers: ProviderServer, tmp_path: Path) -> None:
    stranger = {"model": "openai:gpt-4.1", "settings": {"base_url": "https://stranger.example/v1", "api_key": "${NOT_SET}"}}
    done = CliRunner().invoke(app, ["show", "--config", str(in_file(tmp_path, stranger))])
    assert done.exit_code == 0, done.output


def test_a_key_that_is_refused_is_said_with_its_remedy(tmp_path: Path) -> None:
    stranger = {"model": "openai:gpt-4.1", "settings": {"base_url": "https://stranger.example/v1"}}
    with pytest.raises(ValueError, match=r"stranger\.example") as caught:
        Mixture.from_config(in_file(tmp_path, stranger))
    for word in ("proposers: item 1", "OPENAI_API_KEY", "api_key: ${NAME}", "api_key: none", "OPENAI_BASE_URL"):
        assert word in str(caught.value)
    assert SECRET not in str(caught.value)


def test_azure_does_not_get_the_key_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {"azure_endpoint": "https://example.openai.azure.com", "api_version": "2025-04-01-preview"}
    one = {"model": "azure_openai:gpt-4.1", "settings": settings}
    with pytest.raises(ValueError, match=r"no key\. Set one of these in the environment: AZURE_OPENAI_API_KEY; AZURE_"):
        Mixture(proposers=[one], aggregator=one)
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "a-token")
    model: Any = Mixture(proposers=[one], aggregator=one).members.aggregator.runnable
    assert model.openai_api_key is None


def test_vertex_credentials_are_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    from google.oauth2.credentials import Credentials

    credentials = Credentials("a-token")  # type: ignore[no-untyped-call]  # Google's
    settings = {"vertexai": True, "project": "p", "location": "us-central1", "credentials": credentials}
    one = {"model": "google_genai:gemini-3.5-flash", "settings": settings}
    made: Any = Mixture(proposers=[one], aggregator=one).members.aggregator.chat_model
    assert made.credentials is credentials
    assert made.google_api_key is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("cohere:command-a-03-2025", "COHERE_API_KEY"),
        ("google_genai:gemini-3.5-flash", "GOOGLE_API_KEY; GEMINI_API_KEY; GOOGLE_GENAI_USE_VERTEXAI"),
        ("together:zai-org/GLM-5.3", "TOGETHER_API_KEY"),
        ("deepseek:deepseek-chat", "DEEPSEEK_API_KEY"),
        ("fireworks:accounts/fireworks/models/glm-5p2", "FIREWORKS_API_KEY"),
    ],
)
def test_missing_credentials_are_said_in_our_words(monkeypatch: pytest.MonkeyPatch, model: str, words: str) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"no key\. Set ") as caught:
        Mixture(proposers=[model], aggregator=model)
    assert words in str(caught.value)


async def test_the_smallest_limit_of_a_server_counts_for_all_of_its_members(providers: ProviderServer) -> None:
    slots = {"now": 0, "most": 0}
    lock = threading.Lock()

    def slow(_: Any) -> Answer:
        with lock:
            slots["now"] += 1
            slots["most"] = max(slots["most"], slots["now"])
        threading.Event().wait(0.1)
        with lock:
            slots["now"] -= 1
        return Answer(text="Two slots.")

    providers.script("gpt-4.1", slow)
    model = member(providers, "openai")
    proposers: list[Any] = [
        {"model": model, "max_concurrency": 3},
        {"model": model, "max_concurrency": 2},
        model,
        model,
        written(providers),
    ]
    moa = ChatMoA(proposers=proposers, aggregator=model, num_layers=1, max_concurrency=4)
    await ask(moa, HI, "ainvoke")
    assert slots["most"] == 2
    limiters = {each.limiter for layer in moa.members.layers for each in layer}
    assert len(limiters) == 1


def test_members_at_another_server_have_places_of_their_own(providers: ProviderServer) -> None:
    one, other = written(providers), {"model": "openai:gpt-4.1", "settings": {"base_url": "http://127.0.0.1:9/v1"}}
    moa = Mixture(proposers=[{**one, "max_concurrency": 1}, other], aggregator=other, num_layers=1)
    first, second = moa.members.layers[0]
    assert first.limiter is not second.limiter
    assert second.limiter is moa.members.aggregator.limiter


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "2"])
def test_a_limit_that_is_none(most: Any) -> None:
    with pytest.raises(ValueError, match="max_concurrency must be a whole number of at least 1"):
        Mixture(proposers=[{"model": "openai:gpt-4.1", "max_concurrency": most}], aggregator="openai:gpt-4.1")
