"""How each of Inspect's settings is handled."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_moa import ChatMoA, Mixture
from langchain_moa.batch.limits import callable_members
from langchain_moa.evaluation.inspect_settings import TREATMENTS, call_settings
from langchain_moa.testing import ReplayChatModel

GenerateConfig = pytest.importorskip("inspect_ai.model", reason="the extra eval is not installed").GenerateConfig


class _WithTopK(ReplayChatModel):
    top_k: int | None = None


def test_every_setting_of_inspect_is_provided_for() -> None:
    assert set(TREATMENTS) == set(GenerateConfig.model_fields)


def test_what_is_not_set_is_not_sent() -> None:
    assert (
        call_settings(
            GenerateConfig(), callable_members(Mixture(proposers=[_WithTopK(answers={"q": "a"})], aggregation="vote"))
        )
        == {}
    )


def test_a_parameter_is_sent_where_all_have_it() -> None:
    members: list[Runnable[Any, Any]] = [_WithTopK(answers={"q": "a"}), RunnableLambda(str)]
    inner = ChatMoA(proposers=members, aggregation="vote")
    config = GenerateConfig(top_k=7, stop_seqs=["END"])
    assert call_settings(config, callable_members(Mixture(proposers=[inner], aggregation="vote"))) == {
        "top_k": 7,
        "stop": ["END"],
    }


def test_a_mixture_inside_is_looked_into() -> None:
    inner = ChatMoA(
        proposers=[_WithTopK(answers={"q": "a"}), ReplayChatModel(model="without", answers={"q": "a"})], aggregation="vote"
    )
    with pytest.raises(ValueError, match=r"top_k: .*without has no such parameter \(ReplayChatModel\)"):
        call_settings(GenerateConfig(top_k=7), callable_members(Mixture(proposers=[inner], aggregation="vote")))
