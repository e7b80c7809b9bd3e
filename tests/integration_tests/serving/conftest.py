"""Fixtures of the endpoint's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration_tests.cli.conftest import moa, program
from tests.integration_tests.serving.served import Endpoint, mixture, served
from tests.providers.fixtures import providers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.loopback import Loopback

__all__ = ["endpoint", "moa", "program", "providers"]


@pytest.fixture
def endpoint(loopback: Loopback) -> Iterator[Endpoint]:
    """A mixture of the proposers `p` and `q` and the aggregator `agg`, served as `moa`."""
    with served(mixture(loopback)) as endpoint:
        yield endpoint
