"""The options of a mixture: which mixture is used, what overrides what, and what is rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langchain_moa.cli.exit_codes import UsageError
from langchain_moa.cli.mixture_arguments import MixtureArguments

FILE = """
proposers: [openai:from-file, openai:from-file-too]
aggregator: openai:aggregator-of-file
num_layers: 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-this-test")
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)


def members(**options: Any) -> tuple[list[str], str, int]:
    mixture = MixtureArguments(**options).mixture()
    layers, aggregator = mixture.members[:2]
    return [member.id for member in layers[0]], aggregator.id, mixture.num_layers


def write(name: str = "moa.yaml", text: str = FILE) -> Path:
    file = Path(name)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_in_the_folder_is_taken_by_itself() -> None:
    write()
    assert members() == (["openai:from-file", "openai:from-file-too"], "openai:aggregator-of-file", 3)
    assert not MixtureArguments().is_default


def test_without_one_the_preset_local_is() -> None:
    assert MixtureArguments().is_default
    assert MixtureArguments().written()["aggregator"].startswith("local:")


@pytest.mark.parametrize(
    "options", [{"preset": "openai"}, {"config": Path("x")}, {"aggregator": "a:b"}, {"proposers": ["a:b"]}]
)
def test_whoever_says_whom_to_ask_has_no_default(options: dict[str, Any]) -> None:
    assert not MixtureArguments(**options).is_default


def test_a_named_file_and_a_preset_go_before_the_file_in_the_folder() -> None:
    write()
    write("other.yaml", FILE.replace("from-file", "other"))
    assert members(config=Path("other.yaml"))[0] == ["openai:other", "openai:other-too"]
    assert members(preset="openai")[0] != ["openai:from-file", "openai:from-file-too"]


def test_proposers_and_aggregator_together_need_no_file() -> None:
    write()
    assert members(proposers=["openai:a", "openai:a", "openai:b"], aggregator="openai:c") == (
        ["openai:a", "openai:a", "openai:b"],
        "openai:c",
        2,
    )


def test_one_of_them_replaces_that_of_the_file() -> None:
    write()
    assert members(aggregator="openai:c") == (["openai:from-file", "openai:from-file-too"], "openai:c", 3)
    assert members(proposers=["openai:a"]) == (["openai:a"], "openai:aggregator-of-file", 3)
    assert members(config=Path("moa.yaml"), proposers=["openai:a"], aggregator="openai:c", layers=1) == (
        ["openai:a"],
        "openai:c",
        1,
    )


def test_settings_are_yaml_and_named_options_go_before_them() -> None:
    options = MixtureArguments(
        preset="openai",
        settings=["min_references=2", "temperature=0.1", "stop=[x, y]", "num_layers=5"],
        layers=2,
    )
    mixture = options.mixture(overrides={"temperature": 0.9, "max_tokens": None})
    assert (mixture.min_references, mixture.temperature, mixture.stop, mixture.num_layers) == (2, 0.9, ["x", "y"], 2)
    assert mixture.max_tokens is None


def test_to_look_at_a_mixture_takes_no_key() -> None:
    assert MixtureArguments(preset="together-lite").mixture(asked=False).num_layers == 1
    with pytest.raises(UsageError, match="TOGETHER_API_KEY"):
        MixtureArguments(preset="together-lite").mixture()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"config": Path("a"), "preset": "b"}, "give either --config or --preset, not both"),
        ({"config": Path("absent.yaml")}, "no configuration file 'absent.yaml'"),
        ({"preset": "opnai"}, "unknown preset 'opnai'"),
        ({"aggregator": "openai:c"}, "--aggregator needs --proposer, --preset or --config"),
        ({"proposers": ["openai:c"]}, "aggregator"),
        ({"preset": "openai", "layers": 0}, "num_layers: 0 is too small"),
        ({"preset": "openai", "aggregator": "nobody:x"}, "nobody"),
        ({"preset": "openai", "settings": ["temperatur=1"]}, "did you mean 'temperature'"),
        ({"preset": "openai", "settings": ["temperature"]}, "--set takes FIELD=VALUE"),
        ({"preset": "openai", "settings": ["=1"]}, "--set takes FIELD=VALUE"),
        ({"preset": "openai", "settings": ["stop=[a"]}, "--set stop: the value is not valid YAML"),
    ],
)
def test_what_cannot_be_says_why(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        MixtureArguments(**options).mixture()


@pytest.mark.parametrize("setting", ["api_key={}", "aggregator={{model: 'openai:x', settings: {{api_key: {}}}}}"])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(setting: str) -> None:
    key = "sk-proj-0123456789abcdef"
    with pytest.raises(UsageError, match="set the provider's environment variable") as refused:
        MixtureArguments(preset="openai", settings=[setting.format(key)]).mixture()
    assert key not in str(refused.value)


def test_a_file_that_happens_to_be_in_the_folder_is_named_with_the_servers_it_calls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = "{model: 'openai:x', settings: {base_url: 'http://evil.example:8000/v1', api_key: '${HERS}'}}"
    monkeypatch.setenv("HERS", "a-key-0123456789")
    write(text=f"proposers: [{foreign}, 'openai:y']\naggregator: openai:z\n")
    MixtureArguments().mixture()
    said = capsys.readouterr().err
    assert said.startswith("note: using ./moa.yaml, which calls http://")
    assert "evil.example:8000/v1 with the keys in HERS" in said
    MixtureArguments().mixture(quiet=True)
    MixtureArguments().mixture(asked=False)
    MixtureArguments(config=Path("moa.yaml")).mixture()
    MixtureArguments(proposers=["openai:a"], aggregator="openai:b").mixture()
    assert capsys.readouterr().err == ""
    write()
    MixtureArguments(aggregator="openai:b").mixture()
    assert capsys.readouterr().err == "note: using ./moa.yaml\n"


def test_all_local_models_that_are_missing_are_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.local.is_present", lambda _: False)
    monkeypatch.setattr("langchain_moa.cli.mixture_arguments.find_spec", lambda _: object())
    both = MixtureArguments(proposers=["local:gemma3-270m", "local:smollm2-135m"], aggregator="local:gemma3-270m")
    for make in (both.mixture, both.load, both.served):
        with pytest.raises(
            UsageError, match=r"^2 local models must be downloaded first.* models pull gemma3-270m smollm2-135m$"
        ):
            make()
    write(text="proposers: [{model: 'local:gemma3-270m', name: a}]\naggregator: openai:b\n")
    with pytest.raises(UsageError, match=r"^1 local model must be downloaded first; download it with: .* pull gemma3-270m$"):
        MixtureArguments().mixture()
