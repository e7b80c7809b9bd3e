"""Mixtures in YAML files: what is read, what is rejected, and the error messages."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from langchain_moa import ChatMoA, Mixture

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-proj-0123456789abcdefghijklmnop"

MEMBERS = """
proposers: [openai:gpt-6-luna, openai:gpt-6.1-terra]
aggregator: openai:gpt-6.1-sol
"""


def with_members(text: str) -> str:
    """Return fields with the missing ones of `MEMBERS` added; a duplicate key would be rejected."""
    given = {line.partition(":")[0] for line in text.splitlines()}
    return "\n".join([*(line for line in MEMBERS.splitlines() if line.partition(":")[0] not in given), text])


class Write(Protocol):
    def __call__(self, text: str, name: str = "moa.yaml") -> Path:
        """Write a file."""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-this-test")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "moa.yaml") -> Path:
        file = tmp_path / name
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    return write


def refused(path: Path | str, **overrides: Any) -> str:
    """Return the error for a rejected file; it must name the file."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        Mixture.from_config(path, **overrides)
    text = str(caught.value)
    assert str(path) in text
    assert "errors.pydantic.dev" not in text
    return text.replace(str(path), "FILE")


# Files that are read.


def test_a_file_has_every_field(write: Write) -> None:
    file = write("""
        # A comment.
        proposers:
          - openai:gpt-6-luna
          - model: openai:gpt-6-luna
            name: sceptic
            system_prompt: Look for what could be wrong.
            settings: {reasoning_effort: low, base_url: "http://127.0.0.1:9/v1"}
        aggregator: {model: openai:gpt-6.1-sol, name: editor}
        num_layers: 3
        prompt: Write the best answer.
        min_references: 2
        temperature: 0.5
        max_tokens: 100
        stop: [END]
        timeout: 30
        max_retries: 1
    """)
    mixture = Mixture.from_config(file)
    first, second = mixture.members.layers[0]
    assert (first.name, second.name, mixture.members.aggregator.name) == ("openai:gpt-6-luna", "sceptic", "editor")
    assert second.spec.system_prompt == "Look for what could be wrong."
    model: Any = second.chat_model
    assert (model.reasoning_effort, model.openai_api_base) == ("low", "http://127.0.0.1:9/v1")
    assert (model.request_timeout, model.max_retries) == (30, 1)
    assert (mixture.num_layers, mixture.min_references, mixture.prompt) == (3, 2, "Write the best answer.")
    assert mixture.call_kwargs == {"temperature": 0.5, "max_tokens": 100, "stop": ["END"]}


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_path_may_be_a_text(write: Write, as_path: Callable[[Path], str | Path]) -> None:
    assert Mixture.from_config(as_path(write(MEMBERS))).num_layers == 2


def test_a_chat_model_reads_the_same_file_and_its_own_fields(write: Write) -> None:
    moa = ChatMoA.from_config(write(MEMBERS + "streaming: true\n"))
    assert isinstance(moa, ChatMoA)
    assert moa.streaming
    assert [member.id for member in moa.members.layers[0]] == ["openai:gpt-6-luna", "openai:gpt-6.1-terra"]


def test_a_list_of_lists_is_a_set_for_each_layer(write: Write) -> None:
    mixture = Mixture.from_config(
        write("""
        proposers:
          - [openai:gpt-6-luna, openai:gpt-6-luna, openai:gpt-6-luna]
          - [openai:gpt-6.1-terra]
        aggregator: openai:gpt-6.1-sol
    """)
    )
    assert mixture.num_layers == 2
    assert [len(layer) for layer in mixture.members.layers] == [3, 1]


def test_overrides_go_before_the_file(write: Write) -> None:
    file = write(MEMBERS + "num_layers: 3\ntemperature: 0.5\n")
    mixture = Mixture.from_config(file, num_layers=1, temperature=None)
    assert (mixture.num_layers, mixture.temperature) == (1, None)
    assert Mixture.from_config(file, proposers=[["openai:gpt-6-luna"]]).num_layers == 1


def test_letters_outside_ascii_are_kept(write: Write) -> None:
    prompt = "Schreibe eine gute Antwort auf Deutsch, für Ärzte 🩺."
    assert Mixture.from_config(write(f"{MEMBERS}prompt: {prompt}\n")).prompt == prompt


# Nine times nine times nine, and so on: half a kilobyte that expands to 400 million values.
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
)


# Files that do not exist, are not YAML, or are not a mapping.


def test_a_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "nope.yaml") == "there is no configuration file 'FILE'"


def test_a_missing_file_names_the_one_that_was_meant(write: Write, tmp_path: Path) -> None:
    write(MEMBERS)
    with pytest.raises(ValueError, match=r"there is no configuration file '.*moa\.yml'; did you mean '.*moa\.yaml'\?"):
        Mixture.from_config(tmp_path / "moa.yml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == "'FILE' is a folder; name the YAML file in it"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("proposers:\n\t- openai:gpt-6-luna\n", "FILE is not valid YAML: line 2, column 1: found character '\\t'"),
        ("proposers:\n\t- openai:gpt-6-luna\n", "cannot start any token; indent with spaces, not tabs"),
        (
            "proposers:\n  - a\n - b\n",
            "line 3, column 2: expected <block end>, but found '<block sequence start>'; check the indent",
        ),
        (
            "proposers:\n  - model: a\n  base_url: b\n",
            "line 3, column 3: expected <block end>, but found '?'; check the indent",
        ),
        ("proposers: [a]\n  num_layers: 1\n", "line 2, column 3: expected <block end>, but found"),
        (
            "proposers:\n  - model: a\n    base_url:b\nnum_layers: 1\n",
            "; write a space after the colon of a key, here or",
        ),
        ("proposers: [openai:gpt-6-luna\naggregator: x\n", "FILE is not valid YAML: line 2, column 11: "),
        ("prompt: 'never closed\n", "is not valid YAML: line 2, column 1: found unexpected end of stream"),
        ("proposers: [a]\n---\nproposers: [b]\n", "is not valid YAML: line 2, column 1: but found another document"),
        (
            "aggregator: !!python/object/apply:os.system [id]\n",
            "is not valid YAML: line 1, column 13: could not determine a constructor",
        ),
        (
            "num_layers: 1\nproposers: [a]\nnum_layers: 2\n",
            "line 3, column 1: a key appears twice in one mapping; the first is in line 1",
        ),
        ("yes: 1\ntrue: 2\n", "line 2, column 1: a key appears twice in one mapping; the first is in line 1"),
        ("proposers: &p [*p]\n", "line 1, column 16: the anchor &p refers to itself"),
        ("proposers: &p\n  - a: *p\n", "line 2, column 8: the anchor &p refers to itself"),
        ("proposers: " + "[" * 3_000, "line 1, column 61: it is nested more than 50 levels deep"),
        ("proposers: " + "{a: " * 3_000, "it is nested more than 50 levels deep"),
        ("prompt: !!map x\n", "line 1, column 9: expected a mapping node"),
        ("prompt: !!map [x]\n", "line 1, column 9: expected a mapping node"),
        (BOMB, "it has more than 100,000 values, including those of its aliases"),
    ],
)
def test_a_typo_in_the_yaml_is_found_by_line(write: Write, text: str, place: str) -> None:
    assert place in refused(write(text))


def test_a_typo_in_a_line_with_a_key_does_not_show_the_key(write: Write) -> None:
    text = refused(write(f"api_key: {KEY}: oops\n"))
    assert "line 1" in text
    assert KEY not in text


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "moa.yaml"
    file.write_bytes(b"\xff\xfe\xba\xad")
    assert "is not valid YAML" in refused(file)


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_what_is_empty(write: Write, text: str) -> None:
    assert refused(write(text)) == "FILE is empty; write fields such as `proposers: [...]`"


@pytest.mark.parametrize("text", ["- openai:gpt-6-luna\n", "openai:gpt-6-luna\n", "3\n"])
def test_what_is_no_mapping(write: Write, text: str) -> None:
    assert refused(write(text)) == "FILE is not a mapping of fields; write fields such as `proposers: [...]`"


# Keys do not belong in files.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"api_key: {KEY}\n", "api_key"),
        ("api_key:\n", "api_key"),
        ("OPENAI_API_KEY: short\n", "OPENAI_API_KEY"),
        (f"proposers: [{{model: openai:a, settings: {{api_key: {KEY}}}}}]\n", "api_key"),
        (f"proposers: [[{{model: openai:a, settings: {{openai_api_key: {KEY}}}}}]]\n", "openai_api_key"),
        ("aggregator: {model: openai:a, settings: {default_headers: {X-API-Key: short}}}\n", "X-API-Key"),
        ("aggregator: {model: openai:a, settings: {default_headers: {Authorization: Basic short}}}\n", "Authorization"),
        ("aggregator: {model: bedrock:a, settings: {aws_secret_access_key: short}}\n", "aws_secret_access_key"),
        ("aggregator: {model: huggingface:a, settings: {token: short}}\n", "token"),
        (f"aggregator: {{model: openai:a, settings: {{default_headers: {{X-Auth: {KEY}}}}}}}\n", "X-Auth"),
        (f"proposers: [openai:a, {KEY}]\n", "proposers"),
        ("aggregator: {model: openai:a, settings: {default_headers: {X-Auth: Bearer eyJhbGciOiJIUzI1NiJ9.x}}}\n", "X-Auth"),
    ],
)
def test_a_key_is_refused_at_any_depth(write: Write, text: str, name: str) -> None:
    said = refused(write(with_members(text)))
    assert said == (
        f"FILE has {name!r}; keys do not belong in files. Remove it and set the provider's environment variable, or refer to a "
        "variable of your own: ${NAME}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 10\n",
        "prompt: Bearer of good news, write an answer about the token of the key and its secret.\n",
        "aggregator: {model: openai:hf-internal-testing-tiny-random-model, settings: {logprobs: true}}\n",
    ],
)
def test_what_only_sounds_like_a_key_is_taken(write: Write, text: str) -> None:
    assert Mixture.from_config(write(with_members(text))).num_layers == 2


# Wrong fields: each error names the field, the value and the remedy.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("num_layer: 2", "FILE: unknown field 'num_layer'; did you mean 'num_layers'?"),
        ("agregator: openai:a", "FILE: unknown field 'agregator'; did you mean 'aggregator'?"),
        ("1: 2", "FILE: unknown field '1'; choose one of: "),
        ("on: 2", "FILE: unknown field 'True'; choose one of: "),
        (
            "num_layers: two",
            "FILE: num_layers: input should be a valid integer, unable to parse string as an integer, not 'two'",
        ),
        ("num_layers: 0", "FILE: num_layers: 0 is too small; give at least 1 layer of proposers"),
        ("num_layers: 1.5", "FILE: num_layers: input should be a valid integer, got a number with a fractional part, not 1.5"),
        ("temperature: -1", "FILE: temperature: input should be greater than or equal to 0, not -1"),
        (
            "temperature: hot",
            "FILE: temperature: input should be a valid number, unable to parse string as a number, not 'hot'",
        ),
        ("max_tokens: 0", "FILE: max_tokens: input should be greater than or equal to 1, not 0"),
        ("timeout: 0", "FILE: timeout: input should be greater than 0, not 0"),
        ("min_references: 0", "FILE: min_references: input should be greater than or equal to 1, not 0"),
        ("prompt: papr", "FILE: prompt: unknown prompt 'papr'; choose one of: "),
        ("proposers:", "FILE: proposers: give a list of proposers, or a list of lists with one for each layer, not NoneType"),
        (
            "proposers: openai:a",
            "FILE: proposers: give a list of proposers, or a list of lists with one for each layer, not str",
        ),
        ("proposers: {a: openai:a}", "FILE: proposers: give a list of proposers, or a list of lists with one for each layer, "),
        ("proposers: []", "FILE: proposers: there are no proposers; give at least one"),
        ("proposers: ['']", "FILE: proposers: item 1: model is empty; name one as 'provider:model'"),
        ("proposers: [openai:a, 3]", "FILE: proposers: item 2: 3 is not a member; give 'provider:model', "),
        (
            "proposers: [openai:a, [openai:a]]",
            "FILE: proposers: item 2 is a list, other items are not; give one list for all layers",
        ),
        ("proposers: [[openai:a], []]", "FILE: proposers: layer 2 has no proposers; give at least one, or leave the layer out"),
        ("proposers: [[openai:a], [openai:a, 3]]", "FILE: proposers: layer 2, item 2: 3 is not a member; "),
        ("proposers: [[openai:a], [openai:a]]\nnum_layers: 3", "FILE: num_layers is 3, but proposers has 2 lists; leave "),
        ("proposers: [{modle: openai:a}]", "FILE: proposers: item 1: unknown key 'modle' in a member; did you mean 'model'? "),
        ("proposers: [{name: a}]", "FILE: proposers: item 1: a member has no `model`; add `model: provider:model`"),
        ("proposers: [{model: 3}]", "FILE: proposers: item 1: model must be a string 'provider:model' or a Runnable, not int"),
        ("proposers: [{model: openai:a, name: 3}]", "FILE: proposers: item 1: name must be a text, not 3; put it in quotes"),
        (
            "proposers: [{model: openai:a, system_prompt: [a]}]",
            "FILE: proposers: item 1: system_prompt must be a text, not ['a']",
        ),
        ("proposers: [{model: openai:a, settings: [a]}]", "FILE: proposers: item 1: settings must be a mapping like "),
        ("proposers: [{model: openai:a, settings: }]", "FILE: proposers: item 1: settings must be a mapping like "),
        (
            "proposers: [openai:a, {model: openai:a, settings: {temperature: hot}}]",
            "FILE: proposers: item 2: cannot make the model 'openai:a': temperature: input should be a valid number, ",
        ),
        ("aggregator:", "FILE: aggregator is missing, and aggregation: synthesize asks it; give one, "),
        (
            "aggregator: nope:model",
            "FILE: aggregator: cannot make the model 'nope:model': unknown provider 'nope'; choose one of: ",
        ),
        (
            "proposers: [opnai:a]",
            "FILE: proposers: item 1: cannot make the model 'opnai:a': unknown provider 'opnai'; did you mean 'openai:a'?",
        ),
        (
            "aggregator: loca:smollm2-135m",
            "FILE: aggregator: cannot make the model 'loca:smollm2-135m': unknown provider 'loca'; did you mean 'local",
        ),
        (
            "aggregator: smollm2-135m",
            "FILE: aggregator: cannot make the model 'smollm2-135m': it has no provider; write 'provider:model', such as",
        ),
        ("aggregator: [openai:a]", "FILE: aggregator: ['openai:a'] is not a member; give 'provider:model', "),
    ],
)
def test_a_wrong_field_is_told_what_is_wrong_with_it(write: Write, text: str, said: str) -> None:
    assert refused(write(with_members(f"{text}\n"))).startswith(said)


@pytest.mark.parametrize("missing", ["proposers", "aggregator"])
def test_a_missing_field(write: Write, missing: str) -> None:
    text = "\n".join(line for line in MEMBERS.splitlines() if not line.startswith(missing))
    assert refused(write(text)).startswith(f"FILE: {missing} is missing")


def test_several_wrong_fields_are_told_at_once(write: Write) -> None:
    text = refused(write(f"{MEMBERS}temperature: -1\nmax_tokens: 0\n"))
    assert text == (
        "FILE: temperature: input should be greater than or equal to 0, not -1; "
        "max_tokens: input should be greater than or equal to 1, not 0"
    )


def test_a_wrong_override_names_the_file_and_the_field(write: Write) -> None:
    assert refused(write(MEMBERS), num_layers=0).startswith("FILE: num_layers: 0 is too small")


def test_a_missing_key_names_the_file_the_member_and_the_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert refused(write(MEMBERS)) == (
        "FILE: proposers: item 1: cannot make the model 'openai:gpt-6-luna': no key. "
        "Set the environment variable OPENAI_API_KEY."
    )


def test_a_missing_package_names_the_member_and_the_pip_command(write: Write) -> None:
    said = r"^proposers: item 2: cannot make the model 'ibm:a': .*pip install .*langchain-ibm"
    with pytest.raises(ImportError, match=said):
        Mixture.from_config(write("proposers: [openai:a, ibm:a]\naggregator: openai:a\n"))
    with pytest.raises(ImportError, match=r"^aggregator: cannot make the model 'ibm:a': "):
        Mixture.from_config(write("proposers: [openai:a]\naggregator: ibm:a\n"))


# In Python, a key can be given, but no description of the mixture shows it.


def test_a_key_among_the_settings_is_in_no_description() -> None:
    member = {"model": "openai:a", "settings": {"api_key": KEY, "default_headers": {"Authorization": KEY}}}
    moa = ChatMoA(proposers=[member], aggregator=member)
    assert KEY not in repr(moa)
    assert KEY not in str(moa.describe())
    assert KEY not in str(moa._identifying_params)


def test_a_key_in_the_wrong_field_is_not_shown() -> None:
    with pytest.raises(ValueError, match="timeout") as caught:
        Mixture(proposers=["openai:a"], aggregator="openai:a", timeout=KEY)  # type: ignore[arg-type]  # what is tested
    assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="cannot make the model") as caught:
        Mixture(proposers=[KEY], aggregator="openai:a")
    assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="cannot make the model") as caught:
        Mixture(proposers=[{"model": "openai:a", "settings": {"temperature": KEY}}], aggregator="openai:a")
    assert KEY not in str(caught.value)
