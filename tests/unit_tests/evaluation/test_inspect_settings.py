"""What is done with each of Inspect's settings."""

from __future__ import annotations

import pytest
from inspect_ai.model import GenerateConfig
from langchain_core.runnables import RunnableLambda

from langchain_moa import ChatMoA, Mixture
from langchain_moa.evaluation.budget import everyone
from langchain_moa.evaluation.inspect_settings import TREATMENTS, call_settings
from langchain_moa.testing import ReplayChatModel


class _WithSeed(ReplayChatModel):
    seed: int | None = None


def test_every_setting_of_inspect_is_provided_for() -> None:
    assert set(TREATMENTS) == set(GenerateConfig.model_fields)


def test_what_is_not_set_is_not_sent() -> None:
    assert call_settings(GenerateConfig(), everyone(Mixture(proposers=[_WithSeed(answers={})], aggregation="vote"))) == {}


def test_a_parameter_is_sent_where_all_have_it() -> None:
    inner = ChatMoA(proposers=[_WithSeed(answers={}), RunnableLambda(str)], aggregation="vote")
    config = GenerateConfig(seed=7, stop_seqs=["END"])
    assert call_settings(config, everyone(Mixture(proposers=[inner], aggregation="vote"))) == {"seed": 7, "stop": ["END"]}


def test_a_mixture_inside_is_looked_into() -> None:
    inner = ChatMoA(proposers=[_WithSeed(answers={}), ReplayChatModel(model="without", answers={})], aggregation="vote")
    with pytest.raises(ValueError, match=r"seed: .*without has no such parameter \(ReplayChatModel\)"):
        call_settings(GenerateConfig(seed=7), everyone(Mixture(proposers=[inner], aggregation="vote")))
