"""A field of a mixture is declared once and appears wherever its uses require it."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

import langchain_moa
from langchain_moa import ChatMoA, Mixture, Proposer
from langchain_moa.mixture.fields import MixtureFields, MixtureOptions, Use, fields_for
from langchain_moa.studio.context import MixtureContext
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

MIXTURES = pytest.mark.parametrize("kind", [Mixture, ChatMoA])

# The fields that a developer adds to `MixtureFields`, the only place where fields are declared.
ADDED = """
    top_p: Annotated[float | None, Field(ge=0, le=1), Use.ANSWER | Use.CALL | Use.SHARED | Use.STUDIO] = None
    organization: Annotated[str | None, Use.CLIENT | Use.SHARED] = None
    comment: Annotated[str | None, Use(0)] = None
"""
BEFORE = "    max_tokens: Annotated"

LOOKS = """
import json
from pathlib import Path

from langchain_moa import ChatMoA, Mixture
from langchain_moa.batch.call_journal import CallJournal
from langchain_moa.batch.calls import call_site_of, with_journal
from langchain_moa.evaluation.variants import samples_of_best
from langchain_moa.mixture.fields import MixtureFields, Use, fields_for

def make(kind=Mixture, **fields):
    given = {"proposers": ["openai:gpt-4.1", "openai:gpt-4.1-mini"], "aggregator": "openai:gpt-4.1", "api_key": "k", **fields}
    return kind(**given)

def origin(**fields):
    part = call_site_of(with_journal(make(**fields), CallJournal(None)).members.aggregator)
    return part.origin

mixture = make(top_p=0.5, organization="ours", comment="mine")
shared = samples_of_best(mixture, mixture.members.layers[0][1], calls=3, epoch=1)
print(json.dumps({
    "uses": {use.name: [name for name in fields_for(use) if name in ("top_p", "organization", "comment")] for use in Use},
    "call_kwargs": mixture.call_kwargs,
    "chat_model": make(ChatMoA, top_p=0.5).call_kwargs,
    "organizations": [
        member.chat_model.openai_organization for member in (*mixture.members.layers[0], mixture.members.aggregator)
    ],
    "described": {name: mixture.describe().get(name, "is not there") for name in ("top_p", "organization", "comment")},
    "answers_apart": {"top_p": origin(top_p=0.5) != origin(), "comment": origin(comment="mine") != origin()},
    "self_moa": {name: getattr(shared, name) for name in ("top_p", "organization", "comment")},
    "self_moa_clients": [member.chat_model.openai_organization for member in shared.members.layers[0]],
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Facts about the added fields, from a copy of the package that declares them."""
    root = tmp_path_factory.mktemp("more-fields")
    package = root / "langchain_moa"
    shutil.copytree(Path(langchain_moa.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    source = package / "mixture" / "fields.py"
    text = source.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    source.write_text(text.replace(BEFORE, f"{ADDED.lstrip(chr(10))}{BEFORE}"), encoding="utf-8")
    program = f"import sys; sys.path.insert(0, {str(root)!r})\n{LOOKS}"
    ended = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=root
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_an_added_field_is_listed_for_each_of_its_uses(found: Mapping[str, Any]) -> None:
    assert found["uses"] == {
        "ANSWER": ["top_p"],
        "CALL": ["top_p"],
        "CLIENT": ["organization"],
        "SHARED": ["top_p", "organization"],
        "STUDIO": ["top_p"],
        "RESOLVED": [],
    }


def test_an_added_field_is_an_argument_of_every_call(found: Mapping[str, Any]) -> None:
    assert found["call_kwargs"] == {"top_p": 0.5}
    assert found["chat_model"] == {"top_p": 0.5}


def test_an_added_field_is_an_argument_of_the_members_constructors(found: Mapping[str, Any]) -> None:
    assert found["organizations"] == ["ours"] * 3


def test_an_added_field_is_described(found: Mapping[str, Any]) -> None:
    assert found["described"] == {"top_p": 0.5, "organization": "ours", "comment": "mine"}


def test_an_added_field_is_part_of_the_journals_key_if_it_bears_on_the_answer(found: Mapping[str, Any]) -> None:
    assert found["answers_apart"] == {"top_p": True, "comment": False}


def test_an_added_field_is_shared_with_self_moa(found: Mapping[str, Any]) -> None:
    assert found["self_moa"] == {"top_p": 0.5, "organization": "ours", "comment": None}
    assert found["self_moa_clients"] == ["ours"] * 2


def test_the_options_are_the_fields_of_a_mixture() -> None:
    # Type checkers need the TypedDict to be written out.
    assert MixtureOptions.__annotations__.keys() == MixtureFields.model_fields.keys() - {"proposers", "aggregator"}
    assert Mixture.model_fields.keys() == MixtureFields.model_fields.keys()


def test_a_context_of_studio_has_the_fields_for_studio() -> None:
    own = {"proposer_system_prompt", "aggregator_system_prompt"}
    assert MixtureContext.model_fields.keys() == {*fields_for(Use.STUDIO)} | own


def test_every_field_says_what_it_bears_on() -> None:
    undescribed = [
        name for name, field in MixtureFields.model_fields.items() if not any(isinstance(each, Use) for each in field.metadata)
    ]
    assert undescribed == []


@MIXTURES
@pytest.mark.parametrize(
    ("update", "named"),
    [
        ({"temperature": -1}, "temperature"),
        ({"num_layers": 0}, "num_layers"),
        ({"proposers": []}, "proposers"),
        ({"quorum": 7}, "quorum"),
        ({"quorum": True}, "quorum\n.*true is not a number"),
        ({"max_concurrency": False}, "max_concurrency\n.*false is not a number"),
        ({"temperature": True}, "temperature\n.*true is not a number"),
        ({"aggregation": "nonsense"}, "aggregation"),
        ({"temprature": 1}, "temprature"),
        ({"min_references": 3}, "min_references"),
    ],
)
def test_a_copy_is_checked(kind: type[Mixture], update: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        make(kind).model_copy(update=update)


@MIXTURES
def test_a_copy_reads_what_it_is_given_as_the_constructor_does(kind: type[Mixture]) -> None:
    copy = make(kind).model_copy(update={"proposers": [["openai:gpt-4.1"]], "retry": {"attempts": 4}, "temperature": "0.5"})
    assert copy.proposers == make(kind, proposers=[["openai:gpt-4.1"]]).proposers
    assert copy.retry == make(kind, retry={"attempts": 4}).retry
    assert copy.temperature == 0.5
    assert copy.num_layers == 1


@MIXTURES
def test_a_copy_keeps_what_was_not_set_unset(kind: type[Mixture]) -> None:
    original = make(kind, deadline=9.0)
    copy = original.model_copy(update={"temperature": 0.5})
    assert copy.model_fields_set == original.model_fields_set | {"temperature"}
    assert copy.deadline == 9.0
    assert original.temperature is None


@MIXTURES
def test_a_copy_keeps_the_number_of_layers(kind: type[Mixture]) -> None:
    original = make(kind, proposers=[["openai:gpt-4.1"]] * 3)
    assert original.model_copy(update={"proposers": ["openai:gpt-4.1-mini"]}).num_layers == 3
    assert original.model_copy(update={"proposers": [["openai:gpt-4.1-mini"]]}).num_layers == 1


@MIXTURES
@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1), ("num_layers", 0), ("proposers", []), ("stop_when", "nonsense"), ("max_concurrency", 0)],
)
def test_an_assignment_is_checked(kind: type[Mixture], name: str, value: Any) -> None:
    mixture = make(kind)
    before = getattr(mixture, name)
    with pytest.raises(ValidationError, match=name):
        setattr(mixture, name, value)
    assert getattr(mixture, name) == before


@MIXTURES
def test_an_assignment_counts(kind: type[Mixture]) -> None:
    mixture = make(kind)
    nano: Any = ["openai:gpt-4.1-nano"]
    mixture.proposers = nano
    mixture.temperature = 0.25
    assert list(mixture.proposers) == [Proposer("openai:gpt-4.1-nano")]
    assert [member.id for member in mixture.members.layers[0]] == ["openai:gpt-4.1-nano"]
    assert mixture.call_kwargs == {"temperature": 0.25}
    assert {"proposers", "temperature"} <= mixture.model_fields_set


@MIXTURES
def test_assigned_lists_set_the_number_of_layers(kind: type[Mixture]) -> None:
    mixture = make(kind, num_layers=3)
    mixture.proposers = [["openai:gpt-4.1"], ["openai:gpt-4.1-mini"]]
    assert mixture.num_layers == len(mixture.members.layers) == mixture.describe()["num_layers"] == 2
    assert mixture.model_copy(update={"temperature": 0.5}).num_layers == 2
    mixture.proposers = ["openai:gpt-4.1"]
    assert len(mixture.members.layers) == 2


@MIXTURES
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"proposers": [["openai:gpt-4.1"], ["openai:gpt-4.1"]]}, "num_layers is 1, but proposers has 2 lists"),
        ({"num_layers": 3, "prompt": {3: "blind"}}, "prompt names layer 3, but num_layers is 1"),
    ],
)
def test_an_assigned_number_of_layers_is_checked_against_other_fields(
    kind: type[Mixture], fields: dict[str, Any], named: str
) -> None:
    mixture = make(kind, **fields)
    mixture.num_layers = 1
    with pytest.raises(ValueError, match=named):
        _ = mixture.members


@MIXTURES
def test_mixtures_with_equal_fields_are_equal(kind: type[Mixture]) -> None:
    mixture = make(kind)
    mixture.describe()
    for twin in (make(kind), copy.deepcopy(mixture), pickle.loads(pickle.dumps(mixture))):  # noqa: S301  # our own bytes
        assert mixture == twin
    assert mixture != make(kind, temperature=0.5)
    assert mixture != make(kind, aggregator="openai:gpt-4.1-mini")
    assert mixture != mixture.model_dump()


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"model": "openai:gpt-4.1", True: 1}, "unknown key 'True' in a member"),
        ({"model": "openai:gpt-4.1", 1: 2, "x": 3}, "unknown key '1' in a member"),
        ({"model": "openai:gpt-4.1", "settings": {1: 2}}, "settings: the key 1 is not a text; put it in quotes"),
    ],
)
def test_a_key_of_a_member_that_is_no_text_is_named(member: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make(Mixture, proposers=[member])


def make(kind: type[Mixture], **fields: Any) -> Mixture:
    """Return a mixture of two models."""
    given = {"proposers": ["openai:gpt-4.1", "openai:gpt-4.1-mini"], "aggregator": "openai:gpt-4.1", "api_key": "k"}
    return kind(**{**given, **fields})
