"""A loopback OpenAI-compatible server with scripted answers, which records every request."""

from __future__ import annotations

from tests.loopback.able import able
from tests.loopback.gate import Gate
from tests.loopback.recorded import Recorded
from tests.loopback.reply import Reply, ToolCall, Usage
from tests.loopback.script import echo
from tests.loopback.server import Loopback

__all__ = ["Gate", "Loopback", "Recorded", "Reply", "ToolCall", "Usage", "able", "echo"]
