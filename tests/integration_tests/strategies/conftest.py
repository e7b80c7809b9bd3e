"""The panel that tests of strategies ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration_tests.strategies.panel import Panel

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


@pytest.fixture
def panel(loopback: Loopback, chat: Chat) -> Panel:
    return Panel(loopback, chat)
