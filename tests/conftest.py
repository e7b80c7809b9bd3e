"""Fixtures of all tests."""

from __future__ import annotations

from hypothesis import settings

from tests.loopback.fixtures import chat, loopback

__all__ = ["chat", "loopback"]

# No test asserts a time; Hypothesis would, of every single case.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
