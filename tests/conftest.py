"""Fixtures of all tests."""

from __future__ import annotations

from tests.loopback.fixtures import chat, loopback

__all__ = ["chat", "loopback"]
