"""The commands for local models."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from langchain_moa.local import CATALOG, is_present

if TYPE_CHECKING:
    from tests.integration_tests.cli.conftest import Command

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None or not all(map(is_present, CATALOG.values())),
    reason='the local models are not here: pip install "langchain-moa[local]"; langchain-moa models pull',
)


def test_without_any_option_the_local_models_answer_and_it_says_so(moa: Command) -> None:
    done = moa("ask", "What do bees make?")
    assert done.code == 0
    assert done.out.strip()
    assert done.err.startswith("note: no --config, no --preset and no ./moa.yaml: using the preset local")
    assert done.err.count("\n") == 1


def test_a_present_model_is_not_fetched_again(moa: Command) -> None:
    done = moa("models", "pull", "smollm2-135m")
    assert done.code == 0
    assert done.out.endswith(f"{CATALOG['smollm2-135m'].file}\n")
    assert done.err == "note: smollm2-135m is already here\n"


def test_the_default_mixture_is_drawn(moa: Command) -> None:
    drawn = moa("draw")
    assert drawn.code == 0
    assert drawn.out.count("smollm2-135m") >= 2
