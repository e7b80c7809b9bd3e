"""Members that are other mixtures: presets and files, given by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from langchain_moa import ChatMoA, Mixture
from langchain_moa.cli.app import app
from langchain_moa.cli.exit_codes import UsageError
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback


@pytest.fixture
def write(loopback: Loopback, tmp_path: Path) -> Any:
    """Write a file of members at the test's server."""

    def at_server(model: Any) -> Any:
        if not isinstance(model, str) or not model.startswith("openai:"):
            return model
        return {"model": model, "settings": {"base_url": loopback.url}}

    def write(name: str, proposers: list[Any], aggregator: Any = "openai:agg", **more: Any) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        fields = {"proposers": [*map(at_server, proposers)], "aggregator": at_server(aggregator), "num_layers": 1, **more}
        file.write_text(yaml.safe_dump(fields), encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize("member", [{"config": "inner/two.yaml"}, "config:inner/two.yaml", {"model": "config:inner/two.yaml"}])
def test_a_file_is_a_member_of_a_file(
    write: Any, loopback: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, member: Any
) -> None:
    write("inner/one.yaml", ["openai:deep"], "openai:deep-agg")
    write("inner/two.yaml", ["openai:a", {"config": "one.yaml"}], "openai:inner-agg")
    outer = write("outer.yaml", [member, "openai:b"])
    # Paths are relative to the file that contains them.
    monkeypatch.chdir(tmp_path.parent)
    answer = ChatMoA.from_config(outer).invoke("Hi")
    assert answer.text == "agg says: Hi"
    assert sorted(loopback.models) == sorted(["a", "deep", "deep-agg", "inner-agg", "b", "agg"])
    assert "inner-agg says: Hi" in loopback.calls("agg")[0].system


def test_its_fields_are_overridden_by_its_settings_and_given_by_the_mixture_around_it(write: Any, loopback: Loopback) -> None:
    write("inner.yaml", ["openai:a"], max_retries=1)
    member = {"config": "inner.yaml", "name": "panel", "system_prompt": "Doubt it.", "settings": {"num_layers": 2}}
    moa = Mixture.from_config(write("outer.yaml", [member, "openai:b"], timeout=33, max_retries=0))
    inner: Any = moa.members.layers[0][0].runnable
    assert isinstance(inner, ChatMoA)
    assert (inner.num_layers, inner.timeout, inner.max_retries) == (2, 33, 1)
    assert moa.members.layers[0][0].name == "panel"
    ChatMoA.from_config(write("again.yaml", [member])).invoke("Hi")
    assert loopback.calls("a")[0].system == "Doubt it."


def test_a_preset_is_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    moa = Mixture(proposers=[{"preset": "openai", "name": "panel"}, "preset:openai"], aggregator="openai:gpt-4.1")
    first, second = moa.members.layers[0]
    assert (first.name, second.name, first.id) == ("panel", "preset:openai", "preset:openai")
    assert isinstance(first.runnable, ChatMoA)


def test_the_members_of_a_strategy_are_found(write: Any) -> None:
    write("inner.yaml", ["openai:a"])
    outer = write("outer.yaml", ["openai:b"], aggregation={"select": {"model": {"config": "inner.yaml"}}})
    (found,) = Mixture.from_config(outer).members.others
    assert isinstance(found[1].runnable, ChatMoA)


@pytest.mark.parametrize("how", ["itself", "two", "fallback"])
def test_a_mixture_that_has_itself_for_a_member(write: Any, how: str) -> None:
    if how == "two":
        write("b.yaml", [{"config": "./a.yaml"}])
    members = {"itself": {"config": "a.yaml"}, "two": {"config": "b.yaml"}, "fallback": {"model": "openai:x", "fallbacks": []}}
    member: Any = members[how]
    if how == "fallback":
        member = {"model": "replay:x#y", "fallbacks": [{"config": "a.yaml"}]}
    file = write("a.yaml", [member])
    with pytest.raises(ValueError, match=r"includes itself as a member: .*a\.yaml > .*a\.yaml"):
        Mixture.from_config(file)


def test_a_field_that_is_changed_finds_a_cycle_made_meanwhile(write: Any) -> None:
    write("b.yaml", ["openai:x"])
    moa = Mixture.from_config(write("a.yaml", [{"config": "b.yaml"}]))
    write("b.yaml", [{"config": "a.yaml"}])
    moa.temperature = 0.5
    with pytest.raises(ValueError, match="includes itself as a member"):
        moa.members  # noqa: B018  # made when it is used


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ({"config": "absent.yaml"}, "there is no configuration file '.*absent.yaml'"),
        ({"preset": "absent"}, "unknown preset 'absent'; choose one of:"),
        ({"preset": "openai", "model": "openai:x"}, "a member has one of `model`, `preset` and `config`"),
        ({"preset": "openai", "config": "x.yaml"}, "a member has one of `model`, `preset` and `config`"),
        ({"preset": ["openai"]}, "preset must be a text"),
        ({"config": ""}, "config must be a text|is a folder; name the YAML file in it"),
        ({"config": "inner.yaml", "settings": {"num_layer": 2}}, "unknown field 'num_layer'; did you mean 'num_layers'"),
    ],
)
def test_a_member_that_names_no_mixture(write: Any, member: Any, reason: str) -> None:
    write("inner.yaml", ["openai:a"])
    with pytest.raises(ValueError, match=reason):
        Mixture.from_config(write("outer.yaml", [member]))


def test_a_key_in_an_inner_file_is_refused(write: Any) -> None:
    write("inner.yaml", [{"model": "openai:a", "settings": {"api_key": "sk-0123456789abcdef0123"}}])
    with pytest.raises(ValueError, match=r"inner\.yaml has 'api_key'"):
        Mixture.from_config(write("outer.yaml", [{"config": "inner.yaml"}]))


def test_the_note_on_a_found_file_names_the_servers_of_inner_files(
    write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERS", "a-key-0123456789")
    elsewhere = {"base_url": "https://inner.example/v1", "api_key": "${HERS}"}
    write("inner.yaml", [{"model": "openai:a", "settings": elsewhere}])
    write("moa.yaml", [{"config": "inner.yaml"}])
    MixtureArguments().mixture()
    said = capsys.readouterr().err
    assert "https://inner.example/v1" in said
    assert "with the keys in HERS" in said


def test_local_models_of_an_inner_file_are_asked_for_at_once(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.local.is_present", lambda _: False)
    write("inner.yaml", ["local:smollm2-135m"])
    outer = write("outer.yaml", [{"config": "inner.yaml"}, "local:gemma3-270m"])
    with pytest.raises(UsageError, match=r"2 local models must be downloaded first.* gemma3-270m smollm2-135m"):
        MixtureArguments(config=outer).mixture()


def test_to_look_at_a_mixture_of_mixtures_takes_no_key(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = write("outer.yaml", [{"preset": "openai"}])
    for command, shown in (("show", "preset: openai"), ("draw", "<b>preset:openai</b>")):
        done = CliRunner().invoke(app, [command, "--config", str(file)])
        assert done.exit_code == 0, done.output
        assert shown in done.output
