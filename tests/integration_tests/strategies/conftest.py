"""The panel that tests of strategies ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat
from tests.integration_tests.strategies.panel import Panel


@pytest.fixture
def panel(loopback: Loopback, chat: Chat) -> Panel:
    return Panel(loopback, chat)
