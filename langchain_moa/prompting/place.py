"""Place: where in a prompt the references stand, and what a model allows there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel

ReferencesAt: TypeAlias = Literal["system", "end"]
"""Where references stand: in the system message, as in the paper, or after the last message."""

# Models that refuse a user's message right after the results of tools at any server, since their chat templates do.
_NO_USER_AFTER_TOOLS = re.compile(r"(?:mi|mini|magi|dev|code)stral|(?:mi|pi|vo)xtral", re.IGNORECASE)

# Models whose chat templates have no system role: Gemma up to 3, and the first ones of Mistral.
_NO_SYSTEM_ROLE = re.compile(r"gemma(?!-?[4-9](?!b))|mi[sx]tral-(?:8x)?7b-instruct-v0\.[12]", re.IGNORECASE)


@dataclass(frozen=True)
class ReferencePlace:
    """Where one reader's references stand.

    Attributes:
        at: `system`: behind the system message. `end`: the instruction, which never changes, behind the system message, and the
            references after the last message.
        has_system_role: Whether the reader takes system messages. Otherwise instruction and references both stand at the end.
        has_user_after_tools: Whether the reader takes a user's message right after the results of tools. Otherwise what would
            stand there is added to the last result.
    """

    at: ReferencesAt = "system"
    has_system_role: bool = True
    has_user_after_tools: bool = True

    @classmethod
    def of(
        cls,
        model: BaseChatModel | None,
        name: str,
        *,
        at: ReferencesAt,
        has_system_role: bool | None = None,
        has_user_after_tools: bool = True,
    ) -> ReferencePlace:
        """Return where the references of a model stand.

        Args:
            model: The chat model; `None` for a reader that is another Runnable.
            name: The model id.
            at: What is wanted.
            has_system_role: Whether the model takes system messages. Default: not where the field
                `convert_system_message_to_human` of its class says so, nor, where `at` is `end`, where its name does.
            has_user_after_tools: Whether its client takes a user's message right after the results of tools. A model of
                Mistral's takes none at any server.
        """
        if has_system_role is None:
            converts = getattr(model, "convert_system_message_to_human", False) is True
            has_system_role = not converts and not (at == "end" and _NO_SYSTEM_ROLE.search(name))
        takes_user = has_user_after_tools and not _NO_USER_AFTER_TOOLS.search(name)
        return cls(at, has_system_role=has_system_role, has_user_after_tools=takes_user)

    @property
    def is_apart(self) -> bool:
        """Whether the instruction and the references are in different messages."""
        return self.at == "end" and self.has_system_role

    def put(self, messages: Sequence[BaseMessage], instruction: str, references: str) -> list[BaseMessage]:
        """Put an instruction and the references into a conversation.

        Args:
            messages: The conversation; it is not changed.
            instruction: What the reader is to do with the references. It must be the same in every call, or the beginning of
                the prompt changes.
            references: The references as text.
        """
        if self.is_apart:
            return self.add(add_system_text(messages, instruction), references)
        return self.add(messages, f"{instruction}\n\n{references}")

    def add(self, messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
        """Add a text that differs from call to call where the references stand.

        Args:
            messages: The conversation; it is not changed.
            text: The text.
        """
        if self.at == "system" and self.has_system_role:
            return add_system_text(messages, text)
        return add_last_text(messages, text)

    def adapt(self, messages: list[BaseMessage]) -> list[BaseMessage]:
        """Return a prompt as the reader takes it.

        Args:
            messages: The prompt; it is not changed.

        Returns:
            The prompt, without system messages for a reader that has no system role, and with a last message of the user's
            inside the result of a tool before it for a reader that takes none there.
        """
        adapted = messages if self.has_system_role else without_system_messages(messages)
        result, last = adapted[-2:] if len(adapted) > 1 else (None, None)
        if not self.has_user_after_tools and isinstance(result, ToolMessage) and isinstance(last, HumanMessage):
            return [*adapted[:-2], _followed(result, last.content)]
        return adapted


def add_system_text(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Put a text into the system message, after the user's own and a blank line.

    Args:
        messages: A conversation, with or without a system message in front; it is not changed.
        text: What to add.

    Returns:
        A new list that shares every message but the first.
    """
    if not messages or not isinstance(messages[0], SystemMessage):
        return [SystemMessage(text), *messages]
    system = messages[0]
    if isinstance(system.content, str):
        content: str | list[Any] = f"{system.content}\n\n{text}"
    else:
        content = [*system.content, {"type": "text", "text": f"\n\n{text}"}]
    return [system.model_copy(update={"content": content}), *messages[1:]]


def add_last_text(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Put a text after the last message of a conversation.

    It is added to the last message where that is the user's, and is a user's message of its own otherwise. An answer at the end
    that the model is to continue stays the last message.

    Args:
        messages: A conversation; it is not changed.
        text: What to add.

    Returns:
        A new list that shares every message but one.
    """
    end = len(messages)
    while end and isinstance(messages[end - 1], AIMessage):
        end -= 1
    end = end or len(messages)
    last = messages[end - 1] if end else None
    if isinstance(last, HumanMessage):
        return [*messages[: end - 1], _followed(last, text), *messages[end:]]
    return [*messages[:end], HumanMessage(text), *messages[end:]]


def without_system_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return a conversation with its system messages as text of the user's, in front of the message that follows.

    Args:
        messages: A conversation; it is not changed.
    """
    found: list[BaseMessage] = []
    said: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            said.append(message)
            continue
        if said and isinstance(message, HumanMessage):
            found.append(_joined([*said, message]))
        else:
            found += [*([_joined(said)] if said else []), message]
        said = []
    return [*found, _joined(said)] if said else found


def _followed(message: BaseMessage, added: str | list[Any]) -> BaseMessage:
    """Return a message with more content at its end."""
    content = message.content
    if isinstance(content, str) and isinstance(added, str):
        return message.model_copy(update={"content": f"{content}\n\n{added}" if content.strip() else added})
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    more = added if isinstance(added, list) else [{"type": "text", "text": f"\n\n{added}"}]
    return message.model_copy(update={"content": [*blocks, *more]})


def _joined(messages: Sequence[BaseMessage]) -> BaseMessage:
    """Return messages as one of the user's; what the last one is besides its content stays, where it is the user's."""
    last = messages[-1] if isinstance(messages[-1], HumanMessage) else HumanMessage("")
    texts = [message.content for message in messages]
    if all(isinstance(content, str) for content in texts):
        return last.model_copy(update={"content": "\n\n".join(map(str, texts))})
    blocks: list[Any] = []
    for number, content in enumerate(texts):
        if isinstance(content, str):
            before = "\n\n" if number and not isinstance(texts[number - 1], str) else ""
            after = "\n\n" if number < len(texts) - 1 else ""
            blocks.append({"type": "text", "text": f"{before}{content}{after}"})
        else:
            blocks += content
    return last.model_copy(update={"content": blocks})
