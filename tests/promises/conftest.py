"""Fixtures of the promises for mixtures of many providers."""

from __future__ import annotations

from tests.providers.fixtures import few_authorities, providers

__all__ = ["few_authorities", "providers"]
