"""References: the proposers' answers, as plain data that any checkpointer takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NotRequired
from unicodedata import category

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_moa.usage import cost_of_messages, total_usage

# What a reference has at the least, where it is only read and in the state.
_READ_KEYS = ("layer", "proposer", "name", "model", "text")
_KEYS = ("turn", *_READ_KEYS, "status")

Status = Literal["ok", "failed", "late", "cancelled"]


class Failure(TypedDict):
    """Why a proposer has no reference to show.

    Attributes:
        kind: The exception's type name, or one of `empty`, `refusal`, `content_filter`, `tool_call_only`, `no_text`, and of
            `timeout`, `quorum`, `deadline` for one that was out of time.
        message: The reason in words, free of secrets.
        retryable: There, and true, where a proposer's call may succeed if it is made again.

    Example:
        ```python
        from langchain_moa import Mixture, create_moa

        graph = create_moa(Mixture.from_preset("local")).compile()
        state = graph.invoke({"messages": [("user", "Why is the sky blue?")]})
        for reference in state["references"]:
            if reference["error"] is not None:
                print(reference["name"], reference["error"]["kind"], reference["error"]["message"])
        ```
    """

    kind: str
    message: str
    retryable: NotRequired[bool]


class Reference(TypedDict):
    """One proposer's answer in one layer (the paper's A_ij(x_i), section 2.2).

    Attributes:
        turn: Id of the message that is being answered; references of an older turn are dropped when a new one begins.
        layer: The layer, from 1.
        proposer: The proposer's position in its layer, from 1.
        name: The proposer's name; its model id where it was given none.
        model: The proposer's model id.
        text: The answer without any chain of thought; empty unless `status` is `ok`.
        status: `ok`, or why it is not in any prompt.
        error: The failure, `None` where the status is `ok`.
        usage: Tokens as the provider counted them, `None` where it did not say.
        cost_usd: US dollars, where the messages of the answer say who has written them and the price is known: those of a
            mixture, a chain or an agent have more than one model's.
        seconds: Wall-clock time of the call.
        trimmed: What of its prompt had to be left out to fit into its context window, in words; only where something had.

    Example:
        ```python
        from langchain_moa import Mixture, create_moa

        graph = create_moa(Mixture.from_preset("local")).compile()
        state = graph.invoke({"messages": [("user", "Why is the sky blue?")]})
        for reference in state["references"]:
            print(reference["layer"], reference["name"], reference["status"], reference["text"])
        ```
    """

    turn: str
    layer: int
    proposer: int
    name: str
    model: str
    text: str
    status: Status
    error: Failure | None
    usage: UsageMetadata | None
    cost_usd: NotRequired[float | None]
    seconds: float
    trimmed: NotRequired[list[str]]


def is_reference(value: Any) -> bool:
    """Tell whether a value, such as a user's function returns, is a reference: a mapping with a text and its origin."""
    return isinstance(value, Mapping) and value.keys() >= {*_READ_KEYS} and isinstance(value.get("text"), str)


def merge_references(left: list[Reference] | None, right: list[Reference] | None) -> list[Reference]:
    """Reduce parallel writes to one list in the order of layers and proposers, whatever finished first.

    A reference written again (a retry, a person's edit) replaces the one at its place. The first reference of a new turn
    drops those of the old one.

    Args:
        left: The references in the state.
        right: The references that a node, or a person, writes.

    Returns:
        The new list; neither argument is changed.

    Raises:
        ValueError: What is written is no reference.
    """
    if not right:
        return left or []
    _require_references(right, "references", _KEYS)
    turn = right[-1]["turn"]
    places = {(reference["layer"], reference["proposer"]): reference for reference in left or [] if reference["turn"] == turn}
    places |= {(reference["layer"], reference["proposer"]): reference for reference in right}
    return [places[place] for place in sorted(places)]


def replace_merged(_: list[Reference] | None, right: list[Reference]) -> list[Reference]:
    """Reduce to what was written last: what the next reader reads, as a merge node, a strategy or a person has it.

    Args:
        _: What the state has had.
        right: The references that a node, or a person, writes.

    Returns:
        The new list.

    Raises:
        ValueError: What is written is no reference that could be read.
    """
    _require_references(right, "merged", _READ_KEYS)
    for number, reference in enumerate(right, start=1):
        if not any(category(character) not in _UNSEEN for character in reference["text"]):
            msg = f"merged: item {number} has no text that could be read; leave a reference out to strike it"
            raise ValueError(msg)
    return right


def _require_references(written: Any, field: str, keys: tuple[str, ...]) -> None:
    """Refuse what a person may write into a state: nodes write references."""
    if not isinstance(written, list):
        msg = f"{field}: it must be a list of references, not {type(written).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # a wrong edit is a wrong value
    for number, reference in enumerate(written, start=1):
        known = reference if isinstance(reference, dict) else {}
        missing = [key for key in keys if key not in known]
        if missing or not isinstance(known["text"], str):
            what = f"it lacks {', '.join(map(repr, missing))}" if missing else "its text is no text"
            msg = f"{field}: item {number} is no reference, {what}; take one from the state and change its `text` alone"
            raise ValueError(msg)


class Answer(TypedDict):
    """What a member's output comes to: a message, the text that others may read, and what it cost."""

    message: AIMessage
    text: str
    failure: Failure | None
    usage: UsageMetadata | None
    cost_usd: NotRequired[float | None]


# The finish reasons of OpenAI and compatible servers, Azure, Google, Bedrock and Cohere, in lower case.
_FILTERED = {
    *("content_filter", "content-filter", "content_filtered", "guardrail_intervened", "error_toxic"),
    *("safety", "prohibited_content", "blocklist", "recitation", "spii"),
}
_REFUSED = {"refusal", "refused"}

# Separators, control and format characters: a text of nothing else says nothing, whatever `str.strip` leaves of it.
_UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf"}

# Open reasoning models on plain chat endpoints (DeepSeek-R1, Qwen3, ...) put their chain of thought in front of the answer;
# one that was cut in the middle of it has not come to the answer.
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>\s*|\Z)", re.DOTALL)


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
    """Return the answer in a message: its text, not its chain of thought."""
    text = _THOUGHTS.sub("", str(message.text))
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half a character, left where a server has cut its answer: no client could send it on, and no checkpointer store it.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _failure(message: AIMessage, text: str) -> Failure | None:
    """Say why a message is no reference; `None` if it is a good one."""
    reason = _finish_reason(message)
    if reason.lower() in _FILTERED:
        return Failure(kind="content_filter", message="the provider's content filter cut the answer")
    if reason.lower() in _REFUSED or _has_refusal(message):
        return Failure(kind="refusal", message="the model refused to answer")
    if any(category(character) not in _UNSEEN for character in text):
        return None
    if message.tool_calls or message.invalid_tool_calls:
        return Failure(kind="tool_call_only", message="the model called a tool instead of answering")
    return Failure(kind="empty", message=f"the model answered nothing (finish reason: {reason or 'not given'})")


def _finish_reason(message: AIMessage) -> str:
    """Return why the model stopped, an empty text where it does not say."""
    metadata = message.response_metadata
    # OpenAI's Responses API has no finish reason; it says what an incomplete answer lacks.
    incomplete = metadata.get("incomplete_details")
    cut = incomplete.get("reason") if isinstance(incomplete, dict) else None
    return str(metadata.get("finish_reason") or metadata.get("stop_reason") or cut or "")


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
        usage = message.usage_metadata if account is None else total_usage(account)
        total = total if usage is None else add_usage(total, usage)
    return total
