"""Answers: what a member's output comes to, whatever kind of Runnable it is, and why it is no reference if it is none."""

from __future__ import annotations

from functools import cache
from typing import Any, NotRequired

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_moa.data.finish_reasons import finish_kind, finish_reason_of, is_cut
from langchain_moa.data.reference import Failure, says_something
from langchain_moa.data.thoughts import without_thoughts
from langchain_moa.data.usage import cost_of_messages, counted, total_usage


class Answer(TypedDict):
    """What a member's output comes to: a message, the text that others may read, and what it cost."""

    message: AIMessage
    text: str
    failure: Failure | None
    usage: UsageMetadata | None
    cost_usd: NotRequired[float | None]


# Blocks of thoughts beside the text.
_THOUGHT_BLOCKS = {"reasoning", "reasoning_content", "redacted_thinking", "thinking"}


def read_answer(output: Any, *, seen: int = 0) -> Answer:
    """Read a member's output, whatever kind of Runnable it is.

    Args:
        output: A message, a text, a list of messages, or a graph's state with `messages`; those of a graph on another machine
            are still in the form in which they came over the wire.
        seen: How many messages went in, so that a graph's usage is that of the new ones only.

    Returns:
        The answer; its `failure` says why it is no reference, if it is none.
    """
    messages = output.get("messages") if isinstance(output, dict) else output
    new = [_unpacked(each) for each in (messages[seen:] if isinstance(messages, list) else [messages])]
    last = new[-1] if new else None
    if isinstance(last, str):
        last = AIMessage(last)
    if not isinstance(last, BaseMessage):
        found = f"it returned {type(output).__name__}, which holds no message and no text"
        return Answer(message=AIMessage(""), text="", failure=Failure(kind="no_text", message=found), usage=None, cost_usd=None)
    message = last if isinstance(last, AIMessage) else AIMessage(last.content, id=last.id)
    if (usage := counted(message.usage_metadata)) != message.usage_metadata:
        message = message.model_copy(update={"usage_metadata": usage})
        new[-1] = message
    text = reference_text(message)
    cost = cost_of_messages(new)
    return Answer(message=message, text=text, failure=_failure(message, text), usage=_usage(new), cost_usd=cost)


def _unpacked(output: Any) -> Any:
    """Return the message that a mapping of the wire stands for; anything else as it is."""
    if not isinstance(output, dict) or "type" not in output:
        return output
    try:
        return _messages().validate_python(output)
    except ValidationError:
        return output


@cache
def _messages() -> TypeAdapter[Any]:
    # Not `convert_to_messages`, which loses what a message cost.
    return TypeAdapter(AnyMessage)


def reference_text(message: AIMessage) -> str:
    """Return the answer in a message: its visible text, without thoughts in any spelling."""
    return whole_characters(without_thoughts(str(message.text), is_cut=is_cut(message)).text)


def whole_characters(text: str) -> str:
    """Return a text without halves of characters, which servers leave where they cut an answer. They cannot be encoded.

    Args:
        text: The text.

    Returns:
        The text, with adjoining halves joined and others replaced.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _failure(message: AIMessage, text: str) -> Failure | None:
    """Say why a message is no reference; `None` if it is a good one."""
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
    """Tell whether a stream in OpenAI's protocol ended without a finish reason, and so perhaps too early."""
    said = message.response_metadata
    # The Responses API has a status in place of a finish reason.
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
        # OpenAI's own block, or the same wrapped in LangChain's standard content (`output_version="v1"`).
        match block:
            case {"type": "refusal"} | {"type": "non_standard", "value": {"type": "refusal"}}:
                return True
    return False


def _usage(messages: list[Any]) -> UsageMetadata | None:
    total: UsageMetadata | None = None
    for message in messages:
        if not isinstance(message, AIMessage):
            continue
        # The answer of a mixture's graph counts its aggregator's tokens alone; its account has all that were paid for.
        account = message.response_metadata.get("moa")
        usage = counted(message.usage_metadata) if account is None else total_usage(account)
        total = total if usage is None else add_usage(total, usage)
    return total
