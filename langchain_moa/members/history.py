"""History: adapts the messages of a conversation for another model, in an order that its provider takes."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa.data.answer import reference_text
from langchain_moa.data.media import kind_of
from langchain_moa.members.blocks import adapted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models.model_profile import ModelProfile

    from langchain_moa.members.dialects import Dialect

# Inserted if a conversation must start with a user message but starts with a tool call.
_BEGINNING = "[The beginning of the conversation is not shown.]"

# Ids of tool calls that every provider takes.
_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


def author_of(message: BaseMessage) -> str | None:
    """Return the identity of the model that wrote a message, from the account in its metadata, or `None` if unknown."""
    account = message.response_metadata.get("moa")
    author = account.get("author") if isinstance(account, dict) else None
    return author if isinstance(author, str) else None


def visible_history(messages: Sequence[BaseMessage], author: str | None, dialect: Dialect) -> list[BaseMessage]:
    """Return a conversation in which the AI messages of other models are reduced to their visible text and tool calls.

    A message that the model wrote itself is kept as it is, because some providers require their thoughts and signatures.

    Args:
        messages: The conversation, which is not modified.
        author: The identity of the model that the conversation is sent to, as recorded with its answers.
        dialect: What the model's client takes.
    """
    ids: dict[str, str] = {}
    seen: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            is_own = author is not None and dialect.own_thoughts and author_of(message) == author
            # Some servers reuse ids in each turn, so the last call with an id counts.
            ids.update({call["id"]: call["id"] if is_own else _safe(call["id"]) for call in message.tool_calls if call["id"]})
            seen.append(_without_response_id(message) if is_own else _visible(message))
        elif isinstance(message, ToolMessage) and ids.get(message.tool_call_id, message.tool_call_id) != message.tool_call_id:
            seen.append(message.model_copy(update={"tool_call_id": ids[message.tool_call_id]}))
        else:
            seen.append(message)
    return seen


def in_order(messages: Sequence[BaseMessage], dialect: Dialect, profile: ModelProfile | None = None) -> list[BaseMessage]:
    """Return a conversation with an order and content that a member's provider takes.

    Args:
        messages: The conversation, which is not modified.
        dialect: What the member's client takes.
        profile: The capabilities of the member's model, if known.

    Returns:
        The conversation, with all system messages joined at the start, and consecutive messages of one speaker joined.
    """
    systems = [message for message in messages if isinstance(message, SystemMessage)]
    others = [message for message in messages if not isinstance(message, SystemMessage)]
    if dialect.user_first:
        while len(others) > 1 and isinstance(greeting := others[0], AIMessage) and not greeting.tool_calls:
            systems.append(SystemMessage(f"You have begun the conversation with:\n{greeting.text}"))
            others = others[1:]
        if others and isinstance(others[0], AIMessage):
            others = [HumanMessage(_BEGINNING), *others]
    others = _media_after_results(others, dialect, profile)
    ordered: list[BaseMessage] = []
    for each in [*([_joined(systems)] if systems else []), *others]:
        message = each if isinstance(each, AIMessage) else _adapted(each, dialect, profile)
        last = ordered[-1] if ordered else None
        if last is not None and _are_one(last, message):
            ordered[-1] = _joined([last, message])
        else:
            ordered.append(message)
    return ordered


def without_empty(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation without empty AI messages, such as those that had only thoughts.

    Args:
        messages: The conversation, which is not modified.
    """
    return [message for message in messages if not _is_empty(message)]


def broken_steps(messages: Sequence[BaseMessage], dialect: Dialect) -> set[int]:
    """Return the indexes of messages with tool calls and results that the provider would reject.

    Providers reject a call without exactly one result, a result without its call and, in some dialects, a user message right
    after the results.

    Args:
        messages: The conversation.
        dialect: What the member's client takes.

    Returns:
        The indexes of all messages of each such step: the AI message and the results.
    """
    broken: set[int] = set()
    places: list[int] = []

    def close(follows: BaseMessage | None) -> None:
        head = messages[places[0]] if places else None
        calls = [*head.tool_calls, *head.invalid_tool_calls] if isinstance(head, AIMessage) else []
        required = {call["id"] for call in head.tool_calls} if isinstance(head, AIMessage) else set()
        results = [message.tool_call_id for place in places if isinstance(message := messages[place], ToolMessage)]
        is_whole = len(set(results)) == len(results) and required <= set(results) <= {call["id"] for call in calls}
        if not is_whole or (results and isinstance(follows, HumanMessage) and not dialect.user_after_tool):
            broken.update(places)

    for place, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            continue  # moved to the start later
        if not isinstance(message, ToolMessage):
            close(message)
            places = []
        if isinstance(message, (AIMessage, ToolMessage)):
            places.append(place)
    close(None)
    return broken


def fingerprint(*parts: str) -> str:
    """Return a short hash of strings."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _visible(message: AIMessage) -> AIMessage:
    text = reference_text(message)
    calls = [{**call, "id": _safe(call["id"]) if call["id"] else call["id"]} for call in message.tool_calls]
    media = [kind for block in _blocks(message) if (kind := kind_of(block)) is not None]
    if media:
        text = "\n".join([*([text] if text else []), *(f"[{kind} omitted]" for kind in media)])
    return AIMessage(text, tool_calls=calls, name=message.name)


def _is_empty(message: BaseMessage) -> bool:
    """Return whether a message is an AI message without text, tool calls and other content."""
    if not isinstance(message, AIMessage) or message.tool_calls:
        return False
    texts = [block if isinstance(block, str) else _text_in(block) for block in _as_blocks(message.content)]
    return all(text is not None and not text.strip() for text in texts)


def _text_in(block: Any) -> str | None:
    return str(block.get("text") or "") if isinstance(block, dict) and block.get("type") == "text" else None


def _without_response_id(message: AIMessage) -> AIMessage:
    """Return a message without its response id, for which OpenAI's client would omit all earlier messages and references."""
    metadata: Mapping[str, Any] = message.response_metadata
    if not str(metadata.get("id") or "").startswith("resp_"):
        return message
    return message.model_copy(update={"response_metadata": {key: value for key, value in metadata.items() if key != "id"}})


def _safe(call: str) -> str:
    return call if _ID.fullmatch(call) else f"call_{fingerprint(call)}"


def _blocks(message: BaseMessage) -> list[Any]:
    return message.content if isinstance(message.content, list) else []


def _adapted(message: BaseMessage, dialect: Dialect, profile: ModelProfile | None) -> BaseMessage:
    content = adapted(message.content, dialect, profile, in_result=isinstance(message, ToolMessage))
    return message if content == message.content else message.model_copy(update={"content": content})


def _media_after_results(messages: Sequence[BaseMessage], dialect: Dialect, profile: ModelProfile | None) -> list[BaseMessage]:
    """Move the media of tool results to a user message after the results, if the model takes them only there."""
    moved: list[BaseMessage] = []
    waiting: list[Any] = []
    for message in messages:
        if not isinstance(message, ToolMessage) and waiting:
            moved.append(HumanMessage(waiting))
            waiting = []
        moved.append(message)
        if isinstance(message, ToolMessage) and dialect.user_after_tool:
            found = [
                block
                for block in _blocks(message)
                if (kind := kind_of(block)) is not None
                and dialect.takes(kind, profile)
                and not dialect.takes(kind, profile, in_result=True)
            ]
            if found:
                rest = [block for block in _blocks(message) if block not in found]
                note = {"type": "text", "text": f"[Shown below: {', '.join(str(kind_of(block)) for block in found)}]"}
                moved[-1] = message.model_copy(update={"content": [*rest, note]})
                waiting += [{"type": "text", "text": f"[From the tool {message.name or message.tool_call_id}:]"}, *found]
    return [*moved, HumanMessage(waiting)] if waiting else moved


def _are_one(first: BaseMessage, second: BaseMessage) -> bool:
    if isinstance(first, HumanMessage) and isinstance(second, HumanMessage):
        return first.name == second.name
    if isinstance(first, AIMessage) and isinstance(second, AIMessage):
        plain = isinstance(first.content, str) and isinstance(second.content, str)
        return plain and first.name == second.name and not first.tool_calls
    return False


def _joined(messages: Sequence[BaseMessage]) -> BaseMessage:
    """Join messages of one speaker into one message, with a blank line between texts."""
    first, *more = messages
    content = first.content
    for message in more:
        added = message.content
        if isinstance(content, str) and isinstance(added, str):
            content = f"{content}\n\n{added}"
        else:
            content = [*_as_blocks(content), *_as_blocks(added)]
    if not more:
        return first
    # Of two AI messages, only the second can have tool calls.
    whole = messages[-1] if isinstance(first, AIMessage) else first
    return whole.model_copy(update={"content": content})


def _as_blocks(content: str | list[Any]) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]
