"""Servers of your own with OpenAI's protocol: their addresses, their keys, and what they are sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from langchain_moa import ChatMoA, Mixture, Proposer
from langchain_moa.cli.commands.draw import drawable_mixture
from langchain_moa.members.keys import SERVERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback

SECRET = "sk-the-key-of-openai-0123456789"
OWN = "sk-of-this-server-0123456789abcd"
ADDRESSES = {"vllm": 8000, "lmstudio": 1234, "llamacpp": 8080}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ADDRESSES:
        monkeypatch.delenv(f"{name.upper()}_BASE_URL", raising=False)
        monkeypatch.delenv(f"{name.upper()}_API_KEY", raising=False)
    # What OpenAI's client would read, and send to the wrong server.
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


def model_of(value: Any) -> Any:
    return Proposer.coerce(value).resolve({}).runnable


def test_each_server_has_its_usual_address() -> None:
    assert set(SERVERS) == set(ADDRESSES)
    for name, port in ADDRESSES.items():
        model = model_of(f"{name}:some/model:4b")
        assert model.openai_api_base == f"http://localhost:{port}/v1"
        assert model.model_name == "some/model:4b"


@pytest.mark.parametrize("name", ADDRESSES)
def test_the_environment_names_another_address(name: str, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.script("*", "Hello.")
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", loopback.url)
    moa = ChatMoA(proposers=[f"{name}:a"], aggregator=f"{name}:b", num_layers=1, max_tokens=7)
    answer = moa.invoke("Hi")
    assert loopback.models == ["a", "b"]
    for request in loopback.requests:
        assert request.headers["authorization"] == "Bearer none"
        # Some of these servers ignore `max_completion_tokens`.
        assert request.body["max_tokens"] == 7
        assert "max_completion_tokens" not in request.body
    assert answer.response_metadata["moa"]["layers"][0][0]["model"] == f"{name}:a"


def test_the_servers_own_key_goes_to_its_own_address_only(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.script("*", "Hello.")
    monkeypatch.setenv("VLLM_API_KEY", OWN)
    here = Proposer("vllm:a", base_url=loopback.url)
    ChatMoA(proposers=[here], aggregator=here, num_layers=1).invoke("Hi")
    assert {request.headers["authorization"] for request in loopback.requests} == {"Bearer none"}
    loopback.reset()
    monkeypatch.setenv("VLLM_BASE_URL", loopback.url)
    ChatMoA(proposers=[here], aggregator="vllm:b", num_layers=1).invoke("Hi")
    assert {request.headers["authorization"] for request in loopback.requests} == {f"Bearer {OWN}"}


def test_a_file_has_the_address_at_the_members_level(loopback: Loopback, tmp_path: Path) -> None:
    loopback.script("*", "Hello.")
    file = tmp_path / "moa.yaml"
    url = loopback.url
    file.write_text(
        "proposers:\n"
        f"  - {{model: 'vllm:a', base_url: '{url}'}}\n"
        f"  - {{model: 'openai:b', base_url: '{url}'}}\n"
        f"aggregator: {{model: 'lmstudio:c', base_url: '{url}', settings: {{temperature: 0.5}}}}\n"
        "num_layers: 1\n"
    )
    ChatMoA.from_config(file).invoke("Hi")
    assert sorted(loopback.models) == ["a", "b", "c"]
    assert not [request for request in loopback.requests if SECRET in request.headers["authorization"]]
    assert loopback.calls("c")[0].body["temperature"] == 0.5


def test_a_member_with_an_address_can_be_drawn() -> None:
    drawn = drawable_mixture(proposers=[{"model": "vllm:a", "base_url": "http://a/v1"}], aggregator="vllm:b", num_layers=1)
    assert [member.id for member in drawn.members.layers[0]] == ["vllm:a"]


def test_the_answer_keeps_to_a_schema(loopback: Loopback) -> None:
    class Person(BaseModel):
        name: str

    loopback.script("a", '{"name": "Ada"}')
    model = model_of({"model": "llamacpp:a", "base_url": loopback.url})
    assert model.with_structured_output(Person).invoke("Who?") == Person(name="Ada")
    assert loopback.requests[0].body["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "vllm:a", "base_url": " "}, "base_url must be an address"),
        ({"model": "vllm:a", "base_url": "http://a/v1", "settings": {"base_url": "http://b/v1"}}, "base_url is given twice"),
        ({"model": "local:smollm2-135m", "base_url": "http://a/v1"}, "base_url is for models given as 'provider:model'"),
        ({"model": "preset:openai", "base_url": "http://a/v1"}, "base_url is for models given as 'provider:model'"),
        ({"model": "vllm:"}, "names no model; write 'vllm:NAME'"),
        ({"model": "llama3.2:3b"}, "write 'provider:model', such as 'ollama:llama3.2:3b'"),
        ({"model": "my-model"}, "write 'provider:model', such as 'openai:my-model'"),
        ({"model": "LM-Studio:a"}, "unknown provider 'LM-Studio'; did you mean 'lmstudio:a'?"),
        ({"model": "google:a"}, "unknown provider 'google'; did you mean 'google_genai:a'?"),
        ({"model": "gemini:a"}, "unknown provider 'gemini'; did you mean 'google_genai:a'?"),
        ({"model": "claude:a"}, "unknown provider 'claude'; did you mean 'anthropic:a'?"),
        ({"model": "openai/gpt-4o"}, "it has no provider; did you mean 'openai:gpt-4o'?"),
        ({"model": "google/gemini-a"}, "it has no provider; did you mean 'google_genai:gemini-a'?"),
        ({"model": "meta-llama/Llama-3"}, "write 'provider:model', such as 'openai:meta-llama/Llama-3'"),
        ({"model": "gpt-oss:20b"}, "write 'provider:model', such as 'ollama:gpt-oss:20b'"),
        ({"model": "http://localhost:11434"}, "it is an address; name the model, such as 'ollama:NAME'"),
        ({"model": "openai:"}, "it names no model; write 'openai:NAME'"),
        ({"model": "ollama:a", "settings": {"temprature": 1}}, "unknown setting 'temprature'; did you mean 'temperature'?"),
        ({"model": "vllm:a", "nam": "b"}, "unknown key 'nam' in a member; did you mean 'name'?"),
        ({"model": "vllm:a", "temperature": 1}, "belong in `settings: {temperature: 0.5}`"),
        ({"model": "nvidea:a"}, "did you mean 'nvidia:a'? It needs: pip install langchain-nvidia-ai-endpoints"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Mixture(proposers=[fields], aggregator="vllm:b").members  # noqa: B018  # made at the first look
