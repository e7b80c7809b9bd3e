"""History: the messages of a conversation as another model may see them, in an order that every provider takes."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa.data.answer import reference_text
from langchain_moa.members.blocks import adapted, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models.model_profile import ModelProfile

    from langchain_moa.members.dialects import Dialect

# What every provider takes as the id of a tool's call.
_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


def author_of(message: BaseMessage) -> str | None:
    """Return which model wrote a message, as the account in its metadata says; `None` where nothing says so."""
    account = message.response_metadata.get("moa")
    author = account.get("author") if isinstance(account, dict) else None
    return author if isinstance(author, str) else None


def visible_history(messages: Sequence[BaseMessage], author: str | None, dialect: Dialect) -> list[BaseMessage]:
    """Return a conversation whose AI messages hold nothing that was another model's alone.

    A message that the model has written itself stays as it is, since some providers want their thoughts and signatures back.
    Every other one becomes its visible text and its calls of tools.

    Args:
        messages: The conversation; it is not changed.
        author: Which model is sent the conversation, as it stands in the account of its answers.
        dialect: What its client takes.
    """
    ids: dict[str, str] = {}
    seen: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            is_own = author is not None and dialect.own_thoughts and author_of(message) == author
            if not is_own:
                ids.update({call["id"]: _safe(call["id"]) for call in message.tool_calls if call["id"]})
            seen.append(_without_response_id(message) if is_own else _visible(message))
        elif isinstance(message, ToolMessage) and ids.get(message.tool_call_id, message.tool_call_id) != message.tool_call_id:
            seen.append(message.model_copy(update={"tool_call_id": ids[message.tool_call_id]}))
        else:
            seen.append(message)
    return seen


def in_order(messages: Sequence[BaseMessage], dialect: Dialect, profile: ModelProfile | None = None) -> list[BaseMessage]:
    """Return a conversation in an order and with content that the provider of a member takes.

    Args:
        messages: The conversation; it is not changed.
        dialect: What the member's client takes.
        profile: What the member's model takes, where it says so.

    Returns:
        One system message in front, with the text of all; no empty message; messages of one speaker in a row joined.
    """
    systems = [message for message in messages if isinstance(message, SystemMessage)]
    others = [each for each in _media_after_results(messages, dialect, profile) if not isinstance(each, SystemMessage)]
    if dialect.user_first and others and isinstance(others[0], AIMessage) and not others[0].tool_calls:
        # A greeting.
        systems.append(SystemMessage(f"You have begun the conversation with:\n{others[0].text}"))
        others = others[1:]
    ordered: list[BaseMessage] = []
    for each in [*([_joined(systems)] if systems else []), *others]:
        message = each if isinstance(each, AIMessage) else _adapted(each, dialect, profile)
        if isinstance(message, AIMessage) and not message.content and not message.tool_calls:
            continue  # of thoughts alone, for example
        last = ordered[-1] if ordered else None
        if last is not None and _are_one(last, message):
            ordered[-1] = _joined([last, message])
        else:
            ordered.append(message)
    return ordered


def calls_before_user(messages: Sequence[BaseMessage]) -> set[str]:
    """Return the ids of the calls of tools after whose results the user speaks, and not the model."""
    found: set[str] = set()
    open_calls: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            open_calls.add(message.tool_call_id)
        elif not isinstance(message, SystemMessage):
            if isinstance(message, HumanMessage):
                found |= open_calls
            open_calls = set()
    return found


def fingerprint(*parts: str) -> str:
    """Return a short text that is the same for the same parts, and does not show them."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _visible(message: AIMessage) -> AIMessage:
    text = reference_text(message)
    calls = [{**call, "id": _safe(call["id"]) if call["id"] else call["id"]} for call in message.tool_calls]
    media = [kind for block in _blocks(message) if (kind := kind_of(block)) is not None]
    if media:
        text = "\n".join([*([text] if text else []), *(f"[{kind} omitted]" for kind in media)])
    return AIMessage(text, tool_calls=calls, name=message.name)


def _without_response_id(message: AIMessage) -> AIMessage:
    """Return a message without the id by which OpenAI's client would leave out all that came before it, references too."""
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
    """Return the conversation with the media of tools' results in a user's message after them, where only that is taken."""
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
        return plain and first.name == second.name and not first.tool_calls and not second.tool_calls
    return False


def _joined(messages: Sequence[BaseMessage]) -> BaseMessage:
    """Return messages of one speaker as one, a blank line between them."""
    first, *more = messages
    content = first.content
    for message in more:
        added = message.content
        if isinstance(content, str) and isinstance(added, str):
            content = f"{content}\n\n{added}"
        else:
            content = [*_as_blocks(content), *_as_blocks(added)]
    return first if not more else first.model_copy(update={"content": content})


def _as_blocks(content: str | list[Any]) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]
