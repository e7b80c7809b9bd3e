"""Decisions: a model is asked to decide, its reply is read strictly, and it has one chance to put it right."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel

from langchain_moa.strategies.inquiry import Ask

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.members.proposer import Proposer
    from langchain_moa.reference import Answer

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def decide(
    messages: Sequence[BaseMessage], read: Callable[[str], T | None], *, name: str, model: Proposer | None, form: str
) -> Generator[Ask, Answer, tuple[T | None, str]]:
    """Ask a model for a decision; where its reply cannot be read, ask it once more for the form alone.

    Args:
        messages: What it is asked.
        read: Reads a reply; `None` if it is not of the form.
        name: What the call is named in traces and in the account.
        model: Whom to ask; `None` stands for the aggregator.
        form: The form that the reply must have, in words.

    Returns:
        The decision and an empty text; or `None` and the reason why there is none, for the caller to fall back.
    """
    answer = yield Ask(messages=messages, name=name, model=model)
    if answer["failure"] is not None:
        return None, f"{name} failed: {answer['failure']['kind']}"
    if (value := read(answer["text"])) is not None:
        return value, ""
    repair = HumanMessage(f"That could not be read. Reply again, with nothing but {form}.")
    answer = yield Ask(messages=[*messages, AIMessage(answer["text"]), repair], name=name, model=model)
    if answer["failure"] is not None:
        return None, f"{name} failed: {answer['failure']['kind']}"
    value = read(answer["text"])
    return value, "" if value is not None else f"the reply of {name} could not be read"


def reads_json(schema: type[M]) -> Callable[[str], M | None]:
    """Return a reader of JSON, fenced in Markdown or not, that must fit a schema.

    Args:
        schema: A pydantic model.
    """

    def read(reply: str) -> M | None:
        try:
            return schema.model_validate(parse_json_markdown(reply))
        except ValueError:  # of the JSON, or of the schema
            return None

    return read
