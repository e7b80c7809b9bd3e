"""Which addresses are a provider's own, which are on this machine, and what is a reference to a key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from langchain_moa.members.keys import addresses_in, is_local, is_open, server_of, variables_named, with_keys

OWN = [
    ("openai", "https://api.openai.com/v1"),
    ("openai", "https://eu.api.openai.com/v1"),
    ("openai", "HTTPS://API.OPENAI.COM:443/v1/"),
    ("anthropic", "https://api.anthropic.com"),
    ("azure_openai", "https://my-resource.openai.azure.com/"),
    ("google_genai", "us-central1-aiplatform.googleapis.com"),
    ("bedrock_converse", "https://bedrock-runtime.us-east-1.amazonaws.com"),
    ("bedrock_converse", "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com"),
    ("bedrock_converse", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ("bedrock_converse", "https://bedrock-mantle.us-east-1.api.aws/v1"),
    ("bedrock_converse", "https://vpce-0a1b-2c3d.bedrock-runtime.us-east-1.vpce.amazonaws.com"),
    ("xai", "https://us-east-1.api.x.ai/v1"),
    ("ollama", "https://ollama.com"),
]
STRANGE = [
    ("openai", "http://api.openai.com/v1"),
    ("openai", "https://api.openai.com.evil.example/v1"),
    ("openai", "https://evil.example/api.openai.com"),
    ("openai", "https://api.openai.com@evil.example/v1"),
    ("openai", "https://evil.example\\@api.openai.com/v1"),
    ("openai", "https://api.openai.com:8443/v1"),
    ("openai", "https://evilapi.openai.com.example"),
    ("openai", "https://api.anthropic.com"),
    ("openai", "//evil.example"),
    ("openai", "https://[::ffff:1.2.3.4]/v1"),
    ("openai", "https://[broken"),
    ("azure_openai", "https://vm.westeurope.cloudapp.azure.com"),
    ("azure_openai", "https://gateway.azure-api.net"),
    ("bedrock_converse", "https://ec2-1-2-3-4.compute.amazonaws.com"),
    ("bedrock_converse", "https://bedrock-of-a-customer.s3.amazonaws.com"),
    ("bedrock_converse", "https://bedrock-of-a-customer.s3.us-west-2.amazonaws.com"),
    ("bedrock_converse", "https://bedrock-of-a-customer-1.us-east-1.elb.amazonaws.com"),
    ("google_genai", "https://storage.googleapis.com"),
    ("unheard-of", "https://api.unheard-of.example"),
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "AWS_BEARER_TOKEN_BEDROCK", "UNHEARD-OF_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("provider", "address"), OWN)
def test_an_address_of_the_provider_changes_nothing(provider: str, address: str) -> None:
    # Azure's class has another name for the address.
    settings = {"azure_endpoint" if provider == "azure_openai" else "base_url": address, "temperature": 0}
    for written in (settings, {"base_url": address, "temperature": 0}):
        made = with_keys(provider, written)
        assert {name: value for name, value in made.items() if value is not None} == settings


@pytest.mark.parametrize(("provider", "address"), STRANGE)
@pytest.mark.parametrize("name", ["base_url", "openai_api_base", "azure_endpoint", "endpoint_url", "nested"])
def test_an_address_that_is_not_the_providers_needs_a_key(provider: str, address: str, name: str) -> None:
    settings = {"client_options": {"api_endpoint": address}} if name == "nested" else {name: address}
    with pytest.raises(ValueError, match="Name a key for it"):
        with_keys(provider, settings)
    # Nested keys are keys as well.
    assert with_keys(provider, {**settings, "api_key": SecretStr("of-my-own")})["api_key"] == SecretStr("of-my-own")
    header = {"default_headers": {"X-Api-Key": "of-my-own"}}
    assert with_keys(provider, {**settings, **header})["default_headers"] == header["default_headers"]


def test_a_server_of_ollama_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"base_url": "http://box:11434"}
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    assert with_keys("ollama", settings) == settings
    monkeypatch.setenv("OLLAMA_API_KEY", "of-the-cloud")
    assert with_keys("ollama", settings)["client_kwargs"]["headers"] == {"Authorization": "Bearer none"}


@pytest.mark.parametrize(
    "address",
    [
        *("http://127.0.0.1:8000/v1", "http://localhost", "localhost:11434", "http://[::1]:1/v1", "http://0.0.0.0:8000"),
        *("http://a.localhost:1", "http://127.8.9.10", "http://LOCALHOST."),
    ],
)
def test_addresses_of_this_machine(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        *("http://127.0.0.1.evil.example", "http://localhost@evil.example", "http://evil.example\\@localhost", "10.0.0.1:80"),
        *("http://evil.example#@localhost", "http://evil.example?localhost", "http://notlocalhost", "", "http://2130706433.x"),
    ],
)
def test_addresses_of_other_machines(address: str) -> None:
    assert not is_local(address)


@given(st.text(max_size=40))
def test_no_text_is_too_strange_for_an_address(text: str) -> None:
    assert is_local(text) in {True, False}
    assert isinstance(server_of(text), str)


@pytest.mark.parametrize("value", ["${NAME}", " ${name_2} ", "Bearer ${NAME}", "EMPTY", "none", "sk-no-key-required"])
def test_what_a_file_may_hold_for_a_key(value: str) -> None:
    assert is_open(value)


@pytest.mark.parametrize(
    "value",
    ["", "sk-0123456789", "${NAME}sk-0123456789", "sk-${NAME}", "$NAME", "${}", "${1A}", "Bearer sk-1", None, True, 5, []],
)
def test_what_a_file_may_not_hold_for_a_key(value: Any) -> None:
    assert not is_open(value)


def test_what_refers_to_a_key() -> None:
    member = {"settings": {"api_key": "${A}", "default_headers": {"Authorization": "Bearer ${B}", "X-Team": "${C}"}}}
    fields = {"proposers": [member, {"settings": {"token": "${D}"}}], "prompt": "${E}", "api_key": "${F}"}
    assert list(variables_named(fields)) == ["A", "B", "D", "F"]


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY_ONE", "")
    for name in ("EMPTY_ONE", "NOT_SET_ANYWHERE"):
        with pytest.raises(ValueError, match=f"api_key refers to the environment variable {name}, which is not set"):
            with_keys("openai", {"api_key": f"${{{name}}}"})


def test_only_values_under_the_name_of_a_key_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_ONE", "of-the-environment")
    settings = {"base_url": "http://127.0.0.1/${SECRET_ONE}", "user": "${SECRET_ONE}", "api_key": "none"}
    assert with_keys("openai", settings) == settings


def test_addresses_are_found_at_any_depth_and_referers_are_none() -> None:
    settings = {
        "base_url": "http://a",
        "http_options": {"base_url": "http://b"},
        "default_headers": {"HTTP-Referer": "http://c"},
        "openai_proxy": "http://d",
        "endpoint_url": None,
    }
    assert list(addresses_in(settings)) == ["http://a", "http://b"]
