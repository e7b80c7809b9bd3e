"""A server with batch jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration_tests.batch.job_server import JobServer
from tests.loopback.fixtures import forget_clients

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[JobServer]:
    with JobServer() as made:
        yield made
    forget_clients()
