"""Fixtures of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.loopback.fixtures import chat, loopback

__all__ = ["chat", "loopback"]

# No test asserts a time; Hypothesis would, of every single case and of how fast the cases are made.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
