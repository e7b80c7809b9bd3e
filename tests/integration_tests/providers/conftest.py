"""Fixtures of the tests with providers."""

from __future__ import annotations

from tests.providers.fixtures import few_authorities, providers

__all__ = ["few_authorities", "providers"]
