"""Decisions: a model is asked to decide, its reply is read strictly, and it has one chance to put it right."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from langchain_core.messages import BaseMessage

    from langchain_moa.reference import Answer
    from langchain_moa.strategies.inquiry import Ask

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_LANGUAGE = re.compile(r"\A\s*json\b", re.IGNORECASE)
_ONE_BLOCK = 3  # before it, in it, behind it


def decide(ask: Ask, read: Callable[[str], T | None], *, form: str) -> Generator[Ask, Answer, tuple[T | None, str]]:
    """Ask a model for a decision; where its reply cannot be read, ask it once more for the form alone.

    Args:
        ask: Whom to ask what.
        read: Reads a reply; `None` if it is not of the form.
        form: The form that the reply must have, in words.

    Returns:
        The decision and an empty text; or `None` and the reason why there is none, for the caller to fall back.
    """
    answer = yield ask
    if answer["failure"] is None and (value := read(answer["text"])) is not None:
        return value, ""
    if answer["failure"] is None:
        repair = HumanMessage(f"That could not be read. Reply again, with nothing but {form}.")
        answer = yield _followed_by(ask, AIMessage(answer["text"]), repair)
    if answer["failure"] is not None:
        return None, f"{ask.name} failed: {answer['failure']['kind']}"
    value = read(answer["text"])
    return value, "" if value is not None else f"{ask.name}'s reply could not be read"


def _followed_by(ask: Ask, *more: BaseMessage) -> Ask:
    """Return the same question with more of a conversation behind it."""
    if (prompt := ask.prompt) is None:
        if ask.references:
            return replace(ask, messages=[*ask.messages, *more])
        # As part of the prompt: in the conversation, it would be the last message of the user's.
        return replace(ask, prompt=lambda messages, _: [*messages, *more])
    return replace(ask, prompt=lambda messages, references: [*prompt(messages, references), *more])


def reads_json(schema: type[M]) -> Callable[[str], M | None]:
    """Return a strict reader of JSON.

    The JSON is the whole reply, or the one block in it that is fenced as Markdown does; what has been cut off is not
    completed, of two objects neither is chosen, and no value is taken for one of another type.

    Args:
        schema: A pydantic model.
    """

    def read(reply: str) -> M | None:
        blocks = reply.split("```")
        fenced = [_LANGUAGE.sub("", blocks[1])] if len(blocks) == _ONE_BLOCK else []
        for text in (reply, *fenced):
            try:
                value = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
                return schema.model_validate(value, strict=True)
            except (ValueError, RecursionError):  # of the JSON, or of the schema
                continue
        return None

    return read


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a name stands twice in an object"
        raise ValueError(msg)
    return found


def _no_number(name: str) -> NoReturn:
    msg = f"{name} is no number"
    raise ValueError(msg)
