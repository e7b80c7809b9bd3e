"""Answers: reads the output of any kind of Runnable as a message with its visible text, usage and failure."""

from __future__ import annotations

from functools import cache
from typing import Any, NotRequired

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_moa.data.finish_reasons import finish_kind, finish_reason_of, is_cut
from langchain_moa.data.reference import Failure, says_something
from langchain_moa.data.sanitizing import whole_characters
from langchain_moa.data.thoughts import without_thoughts
from langchain_moa.data.usage import cost_of_messages, counted, total_usage, with_counts


class Answer(TypedDict):
    """The answer of a member: the message, its visible text, the reason why it is not usable, and its usage and cost."""

    message: AIMessage
    text: str
    failure: Failure | None
    usage: UsageMetadata | None
    cost_usd: NotRequired[float | None]


# Types of content blocks with thoughts.
_THOUGHT_BLOCKS = {"reasoning", "reasoning_content", "redacted_thinking", "thinking"}


def read_answer(output: Any, *, seen: int = 0) -> Answer:
    """Read the output of any kind of Runnable as an answer.

    Args:
        output: A message, a string, a list of messages, or a graph's state with `messages`. Messages of a remote graph may be
            mappings.
        seen: The number of input messages, which are skipped in a list or state.

    Returns:
        The answer. Its `failure` is set if it is not usable as a reference.
    """
    messages = output.get("messages") if isinstance(output, dict) else output
    new = [_unpacked(each) for each in (messages[seen:] if isinstance(messages, list) else [messages])]
    last = new[-1] if new else None
    if isinstance(last, str):
        last = AIMessage(last)
    if not isinstance(last, BaseMessage):
        found = f"it returned {type(output).__name__}, which has no message and no text"
        return Answer(message=AIMessage(""), text="", failure=Failure(kind="no_text", message=found), usage=None, cost_usd=None)
    message = with_counts(last) if isinstance(last, AIMessage) else AIMessage(last.content, id=last.id)
    if message is not last:
        new[-1] = message
    text = reference_text(message)
    cost = cost_of_messages(new)
    return Answer(message=message, text=text, failure=_failure(message, text), usage=_usage(new), cost_usd=cost)


def _unpacked(output: Any) -> Any:
    """Return the message for a mapping that is a serialized message; other values as they are."""
    if not isinstance(output, dict) or "type" not in output:
        return output
    try:
        return _messages().validate_python(output)
    except ValidationError:
        return output


@cache
def _messages() -> TypeAdapter[Any]:
    # Not `convert_to_messages`, which drops the usage.
    return TypeAdapter(AnyMessage)


def reference_text(message: AIMessage) -> str:
    """Return the visible text of a message, without thoughts in any spelling."""
    return whole_characters(without_thoughts(str(message.text), is_cut=is_cut(message)).text)


def _failure(message: AIMessage, text: str) -> Failure | None:
    """Return why a message is not usable as a reference, or `None` if it is."""
    reason = finish_reason_of(message.response_metadata)
    kind = finish_kind(reason)
    if kind == "content_filter":
        return Failure(kind="content_filter", message="the provider's content filter cut the answer")
    if kind == "refusal" or _has_refusal(message):
        return Failure(kind="refusal", message="the model refused to answer")
    if says_something(text):
        return None
    if message.tool_calls or message.invalid_tool_calls:
        return Failure(kind="tool_call_only", message="the model called a tool instead of answering")
    if _has_thoughts(message):
        remedy = "; raise max_tokens" if is_cut(message) else ""
        return Failure(kind="empty", message=f"the answer is only thoughts (finish reason: {reason or 'not given'}){remedy}")
    return Failure(kind="empty", message=f"the model answered nothing (finish reason: {reason or 'not given'})")


def has_no_end(message: AIMessage) -> bool:
    """Return whether a message in OpenAI's protocol has no finish reason, so that its end may be missing."""
    said = message.response_metadata
    # The Responses API has a status instead of a finish reason.
    return said.get("model_provider") == "openai" and not (finish_reason_of(said) or said.get("status"))


def _has_thoughts(message: AIMessage) -> bool:
    blocks = message.content if isinstance(message.content, list) else ()
    if any(isinstance(block, dict) and block.get("type") in _THOUGHT_BLOCKS for block in blocks):
        return True
    beside = message.additional_kwargs
    return bool(
        beside.get("reasoning_content")
        or beside.get("reasoning")
        or without_thoughts(str(message.text), is_cut=is_cut(message)).thought
    )


def _has_refusal(message: AIMessage) -> bool:
    if message.additional_kwargs.get("refusal"):
        return True
    blocks = message.content if isinstance(message.content, list) else ()
    for block in blocks:
        # OpenAI's block, or the same block in LangChain's standard content (`output_version="v1"`).
        match block:
            case {"type": "refusal"} | {"type": "non_standard", "value": {"type": "refusal"}}:
                return True
    return False


def _usage(messages: list[Any]) -> UsageMetadata | None:
    total: UsageMetadata | None = None
    for message in messages:
        if not isinstance(message, AIMessage):
            continue
        # The `usage_metadata` of a mixture's answer has the aggregator's tokens only; its account has those of all calls.
        account = message.response_metadata.get("moa")
        usage = counted(message.usage_metadata) if account is None else total_usage(account)
        total = total if usage is None else add_usage(total, usage)
    return total
