"""The options stand in two places, because type checkers read only one of them."""

from __future__ import annotations

from langchain_moa import Mixture
from langchain_moa.mixture.fields import MixtureOptions


def test_the_options_are_the_fields_of_a_mixture() -> None:
    assert MixtureOptions.__annotations__.keys() == Mixture.model_fields.keys() - {"proposers", "aggregator"}
