"""Test kit: models that need no key and no network."""

from __future__ import annotations

from langchain_moa.testing.replay import ReplayChatModel, UnknownQuestionError

__all__ = ["ReplayChatModel", "UnknownQuestionError"]
