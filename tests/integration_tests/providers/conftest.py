"""Fixtures of the tests with providers."""

from __future__ import annotations

from tests.providers.fixtures import providers

__all__ = ["providers"]
