"""Syntax trees are read also if finalizers parse code meanwhile."""

from __future__ import annotations

import ast
import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.source import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cycle:
    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        ast.parse("x = [1, (2, 3)]")


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager_collector")
def test_a_finalizer_that_parses_code_does_no_harm() -> None:
    for _ in range(20):
        Cycle()
        assert tree_of(Path(__file__)).body
