"""The panel and the members that tests of strategies ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration_tests.strategies.panel import Panel

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


@pytest.fixture
def panel(loopback: Loopback, chat: Chat) -> Panel:
    return Panel(loopback, chat)


@pytest.fixture
def members(loopback: Loopback, chat: Chat) -> dict[str, Any]:
    """Two proposers and an aggregator at the server."""
    for name in ("p1", "p2"):
        loopback.script(name, [f"{name} in layer 1", f"{name} in layer 2", f"{name} in layer 3"])
    loopback.script("agg", "the answer")
    return {"proposers": [chat("p1"), chat("p2")], "aggregator": chat("agg")}
