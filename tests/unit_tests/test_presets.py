"""The presets: the paper's numbers, missing keys, and overrides."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from langchain_moa import ChatMoA, Mixture, create_moa, presets
from langchain_moa.local import CATALOG

if TYPE_CHECKING:
    from pathlib import Path

SIX = [
    "together:Qwen/Qwen1.5-110B-Chat",
    "together:Qwen/Qwen1.5-72B-Chat",
    "together:microsoft/WizardLM-2-8x22B",
    "together:meta-llama/Llama-3-70b-chat-hf",
    "together:mistralai/Mixtral-8x22B-Instruct-v0.1",
    "together:databricks/dbrx-instruct",
]

# The paper counts the aggregator as a layer: its MoA has three, its MoA-Lite two.
PAPER = {
    "moa": ("together:Qwen/Qwen1.5-110B-Chat", 2),
    "moa-lite": ("together:Qwen/Qwen1.5-72B-Chat", 1),
    "moa-gpt-4o": ("openai:gpt-4o-2024-05-13", 2),
}

KEYS = {
    "moa": ["TOGETHER_API_KEY"],
    "moa-lite": ["TOGETHER_API_KEY"],
    "moa-gpt-4o": ["TOGETHER_API_KEY", "OPENAI_API_KEY"],
    "openai": ["OPENAI_API_KEY"],
    "together": ["TOGETHER_API_KEY"],
    "together-lite": ["TOGETHER_API_KEY"],
    "local": [],
}

NEEDS = [(name, key) for name, keys in KEYS.items() for key in keys]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("OPENAI_API_KEY", "TOGETHER_API_KEY"):
        monkeypatch.delenv(key, raising=False)


@pytest.fixture(autouse=True)
def _fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A local model is made from its file's name; only the first answer reads the file.
    monkeypatch.setenv("LANGCHAIN_MOA_CACHE", str(tmp_path))
    for model in CATALOG.values():
        (tmp_path / model.file).touch()


def give(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    for key in keys:
        monkeypatch.setenv(key, "a-key-of-this-test")


def read(name: str) -> dict[str, Any]:
    values = yaml.safe_load((files("langchain_moa") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values


def test_every_preset_is_listed_with_a_line_that_says_what_it_is() -> None:
    assert sorted(presets()) == sorted(KEYS)
    assert all(len(line) > 30 and line.endswith(".") for line in presets().values())


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("cls", [Mixture, ChatMoA])
def test_every_preset_makes_a_mixture_and_a_graph(cls: type[Mixture], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, *KEYS[name])
    values = read(name)
    mixture = cls.from_preset(name)
    assert type(mixture) is cls
    assert [[member.id for member in layer] for layer in mixture.members.layers] == [values["proposers"]] * values["num_layers"]
    assert mixture.members.aggregator.id == values["aggregator"]
    graph = create_moa(mixture).compile().get_graph()
    proposers = [node for node in graph.nodes if "proposer" in node]
    assert len(proposers) == len(values["proposers"]) * values["num_layers"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_presets_have_the_papers_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, *KEYS[name])
    aggregator, num_layers = PAPER[name]
    mixture = Mixture.from_preset(name)
    assert [member.id for member in mixture.members.layers[0]] == SIX
    assert mixture.members.aggregator.id == aggregator
    assert mixture.num_layers == num_layers
    assert mixture.prompt == "paper"
    assert mixture.call_kwargs == {"temperature": 0.7, "max_tokens": 2048}
    assert "Historical" in presets()[name]


@pytest.mark.parametrize("name", ["together", "together-lite", "openai"])
def test_presets_of_today_name_no_historical_model_and_leave_sampling_to_the_models(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, *KEYS[name])
    mixture = Mixture.from_preset(name)
    assert mixture.call_kwargs == {}
    assert mixture.prompt == "paper"
    assert not {member.id for member in mixture.members.layers[0]} & {*SIX, "openai:gpt-4o-2024-05-13"}
    assert "Historical" not in presets()[name]


@pytest.mark.parametrize(("lite", "full"), [("moa-lite", "moa"), ("together-lite", "together")])
def test_a_lite_preset_has_as_many_proposers_and_one_layer(lite: str, full: str) -> None:
    assert len(read(lite)["proposers"]) == len(read(full)["proposers"])
    assert (read(lite)["num_layers"], read(full)["num_layers"]) == (1, 2)


def test_the_local_preset_is_small_and_needs_no_key() -> None:
    mixture = Mixture.from_preset("local")
    members = [*mixture.members.layers[0], mixture.members.aggregator]
    assert {member.id for member in members} == {"local:smollm2-135m", "local:gemma3-270m"}
    assert mixture.temperature == pytest.approx(0.3)
    assert mixture.max_tokens is not None
    assert mixture.max_tokens <= 128
    assert isinstance(mixture.prompt, str)
    assert 5 < len(mixture.prompt.split()) < 30


@pytest.mark.parametrize(("name", "key"), NEEDS)
def test_a_missing_key_is_an_error_that_names_the_preset_the_member_and_the_variable(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [other for other in KEYS[name] if other != key]
    give(monkeypatch, *others)
    with pytest.raises(ValueError, match=rf"^preset '{name}': (proposers: item 1|aggregator): .*{key}\.$") as caught:
        Mixture.from_preset(name)
    assert all(other not in str(caught.value) for other in {"OPENAI_API_KEY", "TOGETHER_API_KEY"} - {key})


def test_another_providers_key_is_never_taken_for_the_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Together's client is based on OpenAI's, which would read OpenAI's key from the environment and send it to Together.
    give(monkeypatch, "OPENAI_API_KEY")
    with pytest.raises(ValueError, match="TOGETHER_API_KEY") as caught:
        Mixture.from_preset("together")
    assert "a-key-of-this-test" not in str(caught.value)


def test_a_local_model_that_is_not_fetched_is_an_error_that_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LANGCHAIN_MOA_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"^preset 'local': proposers: item 1: .*langchain-moa models pull smollm2-135m$"):
        Mixture.from_preset("local")


def test_an_empty_key_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        Mixture.from_preset("openai")


def test_an_unknown_preset_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'moa-lit'; choose one of: .*moa-lite.*together") as caught:
        Mixture.from_preset("moa-lit")
    assert all(name in str(caught.value) for name in KEYS)


@pytest.mark.parametrize("name", ["../presets/openai", "openai.yaml", "/etc/passwd", ""])
def test_a_path_is_no_preset(name: str) -> None:
    with pytest.raises(ValueError, match="unknown preset"):
        Mixture.from_preset(name)


def test_overrides_go_before_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "OPENAI_API_KEY", "TOGETHER_API_KEY")
    mixture = Mixture.from_preset("moa", num_layers=1, temperature=0.2, aggregator="openai:gpt-6-luna")
    assert mixture.num_layers == 1
    assert mixture.call_kwargs == {"temperature": 0.2, "max_tokens": 2048}
    assert mixture.members.aggregator.id == "openai:gpt-6-luna"
    assert [member.id for member in mixture.members.layers[0]] == SIX


def test_an_override_of_none_takes_a_setting_away(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "TOGETHER_API_KEY")
    assert Mixture.from_preset("moa", temperature=None).call_kwargs == {"max_tokens": 2048}


def test_proposers_for_each_layer_bring_their_own_number_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "OPENAI_API_KEY")
    layer = ["openai:gpt-6-luna"]
    assert Mixture.from_preset("openai", proposers=[layer, layer, layer]).num_layers == 3
    with pytest.raises(ValueError, match="num_layers is 2, but proposers has 3 lists"):
        Mixture.from_preset("openai", proposers=[layer, layer, layer], num_layers=2)


def test_a_wrong_override_is_an_error_that_names_preset_and_field(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "OPENAI_API_KEY")
    with pytest.raises(ValueError, match=r"^preset 'openai': unknown field 'layers'"):
        Mixture.from_preset("openai", layers=2)
    with pytest.raises(ValueError, match=r"^preset 'openai': num_layers: 0 is too small"):
        Mixture.from_preset("openai", num_layers=0)


def test_together_is_asked_for_the_tokens_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    # By default they are left out, so the sum of a mixture would lack the aggregator's.
    give(monkeypatch, "TOGETHER_API_KEY")
    aggregator: Any = Mixture.from_preset("together-lite").members.aggregator.chat_model
    assert aggregator.stream_usage is True
    quiet = {"model": "together:zai-org/GLM-5.3", "settings": {"stream_usage": False}}
    aggregator = Mixture.from_preset("together-lite", aggregator=quiet).members.aggregator.chat_model
    assert aggregator.stream_usage is False


def test_overrides_of_chat_model_fields_work(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "OPENAI_API_KEY")
    assert ChatMoA.from_preset("openai", streaming=True).streaming
