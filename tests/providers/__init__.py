"""Loopback servers with the protocols of the real providers, which reject what the providers reject."""

from __future__ import annotations

from tests.providers.conversation import Answer, Call, Turn, capable
from tests.providers.members import PROVIDERS, member
from tests.providers.server import ProviderServer

__all__ = ["PROVIDERS", "Answer", "Call", "ProviderServer", "Turn", "capable", "member"]
