"""The configuration of a recorded run: a file that recreates the mixture, or none."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from langchain_core.language_models import FakeListChatModel

from langchain_moa import Mixture, Proposer
from langchain_moa.runs.serialization import Serializer

BASE: dict[str, Any] = {"proposers": ["openai:a", "openai:b"], "aggregator": "openai:c", "api_key": "k" * 20}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_layers": 1, "temperature": 0.5, "quorum": 0.75, "stop": ["x"], "retry": {"attempts": 2}},
        {"proposers": [["openai:a"], ["openai:a", "openai:b"]]},
        {"proposers": [Proposer("openai:a", name="n", system_prompt="p", settings={"temperature": 1})]},
        {"aggregation": {"rank": {"seed": 7}}, "reference_filters": ["outliers"], "stop_when": "agreement"},
        {"aggregation": "medoid", "aggregator": None},
        {"proposers": [Proposer("vllm:a", base_url="http://127.0.0.1:9/v1", settings={"temperature": 1})]},
    ],
)
def test_a_mixture_made_of_names_can_be_made_again(fields: dict[str, Any]) -> None:
    mixture = Mixture(**{**BASE, **fields})
    config = Serializer().config(mixture)
    assert config is not None
    again = Mixture(**yaml.safe_load(yaml.safe_dump(config)), api_key=BASE["api_key"])
    assert again.describe() == mixture.describe()
    assert "k" * 20 not in str(config)


def test_an_address_stands_at_the_members_level() -> None:
    config = Serializer().config(Mixture(**{**BASE, "aggregator": Proposer("vllm:a", base_url="http://127.0.0.1:9/v1")}))
    assert config is not None
    assert config["aggregator"] == {"model": "vllm:a", "base_url": "http://127.0.0.1:9/v1"}


def test_a_mixture_made_of_objects_has_no_file() -> None:
    model = FakeListChatModel(responses=["x"])
    assert Serializer().config(Mixture(proposers=[model], aggregator=model)) is None
    assert Serializer().config(Mixture(**BASE, aggregation=lambda messages, references: "x")) is None
    keyed = Proposer("openai:a", settings={"api_key": "k" * 20})
    assert Serializer().config(Mixture(**{**BASE, "proposers": [keyed]})) is None
