"""References and steps: the calls of a turn as plain data that every checkpointer can store, and their reducers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired
from unicodedata import category

from langchain_core.messages.ai import UsageMetadata
from typing_extensions import TypedDict

# The keys that a reference must have in `merged`, where it is only read, and in `references`.
_READ_KEYS = ("layer", "proposer", "name", "model", "text")
_KEYS = ("turn", *_READ_KEYS, "status")

# Categories of invisible characters: separators, control and format characters. `str.strip` removes only some of them.
_UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf"}

Status = Literal["ok", "failed", "late", "cancelled"]


class Failure(TypedDict):
    """Why a call has failed.

    Attributes:
        kind: The exception's type name; or `empty`, `refusal`, `content_filter`, `tool_call_only` or `no_text`; or, for a call
            that exceeded a time limit, `timeout`, `quorum` or `deadline`.
        message: The reason in words, without secrets.
        retryable: True if a retry of the proposer's call may succeed; otherwise missing.

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


class Check(TypedDict):
    """The result of the check of the aggregation `verified`.

    Attributes:
        passed: Whether the answer has passed.
        said: What is wrong with it, in words; empty if the check gave no reason.
    """

    passed: bool
    said: str


class Reference(TypedDict):
    """One proposer's answer in one layer (the paper's A_ij(x_i), section 2.2).

    Attributes:
        turn: Id of the message that is being answered; a new turn removes the references of the old one.
        layer: Number of the layer, from 1.
        proposer: Number of the proposer in its layer, from 1.
        name: The proposer's name; by default its model id.
        model: The proposer's model id.
        text: The answer without chain of thought; empty unless `status` is `ok`.
        status: `ok`, or why the reference is in no prompt: `failed`, `late` or `cancelled`.
        error: The failure; `None` if the status is `ok`.
        usage: Tokens as the provider reported them; `None` if it did not.
        cost_usd: US dollars, if the models that wrote the answer and their prices are known. For a mixture, a chain or an
            agent, the sum over its models.
        seconds: Wall-clock time of the call.
        trimmed: What was removed from its prompt to fit into its context window, in words; missing if nothing was.
        check: The result of the check, if the aggregation checks references.
        sent: False if the call was cancelled before its request was sent, so that it does not count; otherwise missing.

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
    check: NotRequired[Check]
    sent: NotRequired[bool]


def says_something(text: str) -> bool:
    """Return whether a text has a visible character."""
    return any(category(character) not in _UNSEEN for character in text)


def is_reference(value: Any) -> bool:
    """Return whether a value, such as the result of a user's function, is a reference: a mapping with a text and its origin."""
    return isinstance(value, Mapping) and value.keys() >= {*_READ_KEYS} and isinstance(value.get("text"), str)


def merge_references(left: list[Reference] | None, right: list[Reference] | None) -> list[Reference]:
    """Reducer of `references`: merge parallel writes into a list ordered by layer and proposer.

    A new reference of the same layer and proposer (from a retry or a user's edit) replaces the old one. References of an older
    turn are dropped.

    Args:
        left: The references in the state.
        right: The references that a node or a user writes.

    Returns:
        The new list. The arguments are not modified.

    Raises:
        ValueError: An item of `right` is not a reference.
    """
    if not right:
        return left or []
    _require_references(right, "references", _KEYS)
    turn = right[-1]["turn"]
    places = {(reference["layer"], reference["proposer"]): reference for reference in left or [] if reference["turn"] == turn}
    places |= {(reference["layer"], reference["proposer"]): reference for reference in right}
    return [places[place] for place in sorted(places)]


def replace_merged(_: list[Reference] | None, right: list[Reference]) -> list[Reference]:
    """Reducer of `merged`: the last write replaces the references that the next layer or the aggregator reads.

    Args:
        _: The references in the state.
        right: The references that a node or a user writes.

    Returns:
        The new list.

    Raises:
        ValueError: An item of `right` is not a reference or has no visible text.
    """
    _require_references(right, "merged", _READ_KEYS)
    for number, reference in enumerate(right, start=1):
        if not says_something(reference["text"]):
            msg = f"merged: item {number} has no text; to remove a reference, leave it out"
            raise ValueError(msg)
    return right


def _require_references(written: Any, field: str, keys: tuple[str, ...]) -> None:
    """Check references that a user may have written into the state."""
    if not isinstance(written, list):
        msg = f"{field}: it must be a list of references, not {type(written).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # all invalid edits raise a ValueError
    for number, reference in enumerate(written, start=1):
        known = reference if isinstance(reference, dict) else {}
        missing = [key for key in keys if key not in known]
        if missing or not isinstance(known["text"], str):
            what = f"it lacks {', '.join(map(repr, missing))}" if missing else "its text is not a string"
            msg = f"{field}: item {number} is not a reference ({what}); take one from the state and change only its `text`"
            raise ValueError(msg)


class Step(TypedDict):
    """A call other than a reference: of a ranker, an analyst, a moderator or another strategy, or an attempt that failed.

    Attributes:
        turn: Id of the message that is being answered; a new turn removes the steps of the old one.
        node: The node of the graph that made the call.
        name: The name of the call (`ranker`, `moderator`, ...) or of the member or model.
        model: The model id.
        text: The text of the reply; empty if the call failed.
        status: `ok` or `failed`.
        error: The failure; `None` if the status is `ok`.
        usage: Tokens as the provider reported them; `None` if it did not.
        cost_usd: US dollars, if the model that wrote the reply and its price are known.
        seconds: Wall-clock time of the call.
        trimmed: What was removed from its prompt to fit into its context window, in words; missing if nothing was.
        sent: False if the call was cancelled before its request was sent, so that it does not count; otherwise missing.

    Example:
        ```python
        from langchain_moa import Mixture, create_moa

        graph = create_moa(Mixture.from_preset("local", aggregation="select")).compile()
        state = graph.invoke({"messages": [("user", "Why is the sky blue?")]})
        for step in state["steps"]:
            print(step["node"], step["name"], step["status"], step["text"])
        ```
    """

    turn: str
    node: str
    name: str
    model: str
    text: str
    status: Literal["ok", "failed"]
    error: Failure | None
    usage: UsageMetadata | None
    cost_usd: NotRequired[float | None]
    seconds: float
    trimmed: NotRequired[list[str]]
    sent: NotRequired[bool]


def merge_steps(left: list[Step] | None, right: list[Step] | None) -> list[Step]:
    """Reducer of `steps`: append new steps, and drop those of an older turn.

    Args:
        left: The steps in the state.
        right: The steps that a node writes.

    Returns:
        The new list. The arguments are not modified.
    """
    if not right:
        return left or []
    turn = right[-1]["turn"]
    return [*(step for step in left or [] if step["turn"] == turn), *right]
