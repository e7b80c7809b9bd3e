"""Test kit: chat models that need no API key and no network."""

from __future__ import annotations

from langchain_moa.testing.replay import RecordedFailureError, ReplayChatModel, UnknownQuestionError, replay_model

__all__ = ["RecordedFailureError", "ReplayChatModel", "UnknownQuestionError", "replay_model"]
