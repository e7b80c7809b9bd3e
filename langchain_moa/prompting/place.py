"""The place of the references in a prompt, depending on the messages that a model takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel

ReferencesAt: TypeAlias = Literal["system", "end"]
"""Where references are shown: in the system message, as in the paper, or after the last message."""

# Models whose chat templates reject a user message right after tool results, on any server.
_NO_USER_AFTER_TOOLS = re.compile(r"(?:mi|mini|magi|dev|code)stral|(?:mi|pi|vo)xtral", re.IGNORECASE)

# Models whose chat templates have no system role: Gemma up to 3, and Mistral's first models.
_NO_SYSTEM_ROLE = re.compile(r"gemma(?!-?[4-9](?!b))|mi[sx]tral-(?:8x)?7b-instruct-v0\.[12]", re.IGNORECASE)


@dataclass(frozen=True)
class ReferencePlace:
    """The place of the references in a reader's prompt.

    Attributes:
        at: `system`: the instruction and the references are appended to the system message. `end`: the instruction, which never
            changes, is appended to the system message, and the references follow the last message.
        has_system_role: Whether the reader takes system messages. If not, the instruction and the references are both at the
            end.
        has_user_after_tools: Whether the reader takes a user message right after tool results. If not, its content is appended
            to the last tool result.
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
        """Return the place of the references for a model.

        Args:
            model: The chat model, or `None` for other Runnables.
            name: The model id.
            at: The requested place.
            has_system_role: Whether the model takes system messages. Default: yes, unless its field
                `convert_system_message_to_human` is set, or `at` is `end` and its name is that of a model without this role.
            has_user_after_tools: Whether the model's client takes a user message right after tool results. Mistral's models do
                not, on any server.
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
        """Add an instruction and the references to a conversation.

        Args:
            messages: The conversation, which is not modified.
            instruction: The instruction. It should be the same in every call, so that the start of the prompt does not change.
            references: The references as text.
        """
        if self.is_apart:
            return self.add(add_system_text(messages, instruction), references)
        return self.add(messages, f"{instruction}\n\n{references}")

    def add(self, messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
        """Add a text that changes from call to call, at the place of the references.

        Args:
            messages: The conversation, which is not modified.
            text: The text.
        """
        if self.at == "system" and self.has_system_role:
            return add_system_text(messages, text)
        return add_last_text(messages, text)

    def adapt(self, messages: list[BaseMessage]) -> list[BaseMessage]:
        """Return a prompt with only messages that the reader takes.

        Args:
            messages: The prompt, which is not modified.

        Returns:
            The prompt. For a reader without a system role, system messages become user text. For a reader that takes no user
            message after tool results, such a last message is appended to the tool result.
        """
        adapted = messages if self.has_system_role else without_system_messages(messages)
        result, last = adapted[-2:] if len(adapted) > 1 else (None, None)
        if not self.has_user_after_tools and isinstance(result, ToolMessage) and isinstance(last, HumanMessage):
            return [*adapted[:-2], _followed(result, last.content)]
        return adapted


def add_system_text(messages: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Append a text to the system message, after a blank line, or add a system message.

    Args:
        messages: A conversation, which is not modified.
        text: The text.

    Returns:
        A new list. All messages but the first are shared with the conversation.
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
    """Append a text to the last message of a conversation if it is a user message, or else add a user message.

    AI messages at the end, which the model is to continue, stay at the end.

    Args:
        messages: A conversation, which is not modified.
        text: The text.

    Returns:
        A new list. All messages but one are shared with the conversation.
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
    """Return a conversation in which each system message is joined with the user message that follows, or becomes one.

    Args:
        messages: A conversation, which is not modified.
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
    """Return a message with content appended."""
    content = message.content
    if isinstance(content, str) and isinstance(added, str):
        return message.model_copy(update={"content": f"{content}\n\n{added}" if content.strip() else added})
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    more = added if isinstance(added, list) else [{"type": "text", "text": f"\n\n{added}"}]
    return message.model_copy(update={"content": [*blocks, *more]})


def _joined(messages: Sequence[BaseMessage]) -> BaseMessage:
    """Join messages into one user message, with the name and other fields of the last one if that is a user message."""
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
