"""Finish reasons: maps the words of all providers to common kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage

FinishKind: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
"""The kinds of finish reasons."""

# The words of OpenAI and compatible servers, Azure, Anthropic, Google, Bedrock, Cohere, Mistral and Ollama, in lower case.
_WORDS: dict[FinishKind, tuple[str, ...]] = {
    "stop": ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"),
    "length": (
        *("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_length", "model_length"),
        "model_context_window_exceeded",
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call"),
    "content_filter": (
        *("content_filter", "content-filter", "content_filtered", "guardrail_intervened", "error_toxic"),
        *("safety", "prohibited_content", "blocklist", "recitation", "spii"),
    ),
    "refusal": ("refusal", "refused"),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}

# The keys of the reason in `response_metadata`: OpenAI and most others, Anthropic, Bedrock, Ollama.
_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason")


def finish_reason_of(metadata: Mapping[str, Any]) -> str | None:
    """Return a provider's finish reason (`stop`, `length`, `max_tokens`, ...).

    Args:
        metadata: The `response_metadata` of the model's message.

    Returns:
        The provider's word, or `None` if there is none.
    """
    # OpenAI's Responses API has no finish reason, but has the reason of an incomplete answer.
    incomplete = metadata.get("incomplete_details")
    reason = incomplete.get("reason") if isinstance(incomplete, dict) else None
    found = next((metadata[key] for key in _KEYS if metadata.get(key)), reason)
    return str(found) if found else None


def finish_kind(reason: str | None) -> FinishKind | None:
    """Return the kind of a provider's finish reason.

    Args:
        reason: The provider's word, in upper or lower case.

    Returns:
        The kind, or `None` if the word is unknown or missing.

    Example:
        ```python
        from langchain_moa.data.finish_reasons import finish_kind

        finish_kind("MAX_TOKENS")  # "length"
        ```
    """
    return None if reason is None else _KINDS.get(reason.lower())


def is_cut(message: BaseMessage) -> bool:
    """Return whether an answer was cut at the maximum number of tokens.

    Args:
        message: The model's message.
    """
    return finish_kind(finish_reason_of(message.response_metadata)) == "length"
