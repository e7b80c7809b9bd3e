"""Inquiries: strategies that ask models or compare texts, and decisions that are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

from langchain_moa.limits.portal import in_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextvars import Context

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.answer import Answer
    from langchain_moa.data.reference import Reference
    from langchain_moa.members.proposer import Proposer
    from langchain_moa.prompting.prompts import Prompt
    from langchain_moa.strategies.similarity import Similarity

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Ask a model; the inquiry is sent its `Answer`, whose `failure` says so if it gave none or raised.

    Attributes:
        messages: What it is asked, or the conversation that `prompt` makes it of.
        name: What the call is named in traces and in the account.
        model: Whom to ask: one of the strategy's `models`, which are made and checked with the mixture. Default: the
            mixture's aggregator; if it fails, its `aggregator_fallbacks` are asked in their order.
        drafts: Whether the text is a draft of the answer; then the aggregator's role, and the user's stop words and limit of
            tokens, hold for it, too. By default it is a verdict, which they would only spoil.
        references: What it is to read. Each is cut to `max_reference_tokens`, and all of them so that the prompt fits into
            the asked model's context window, as for any other reader.
        prompt: How they are shown: from `messages` and `references` to the messages that are sent. Default, where there are
            references: the mixture's `prompt`.
        schema: A pydantic model that the text is to be JSON of. A model whose profile has `structured_output` is held to it by
            its provider; any other one has to be told in words as well.

    Example:
        ```python
        from langchain_core.messages import HumanMessage

        from langchain_moa import ChatMoA
        from langchain_moa.strategies import Ask


        def corrected(messages, references):
            draft = HumanMessage(f"Correct this answer to {messages[-1].text!r}: {references[0]['text']}")
            answer = yield Ask(messages=[draft], name="correction")
            return answer["text"] or references[0]


        moa = ChatMoA.from_preset("local", aggregation=corrected)
        print(moa.invoke("Why is the sky blue?").text)
        ```
    """

    messages: Sequence[BaseMessage]
    name: str
    model: Proposer | None = None
    drafts: bool = False
    references: Sequence[Reference] = ()
    prompt: Prompt | None = None
    schema: type[BaseModel] | None = None


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare texts; the inquiry is sent a matrix of similarities, from 0 to 1, `matrix[i][j]` that of texts i and j.

    It is sent `None` where embeddings were to compare them and failed, which is recorded among the answer's steps.

    Attributes:
        texts: What is compared.
        by: What compares: `lexical`, LangChain embeddings, or a callable from two texts to a number from 0 to 1.

    Example:
        ```python
        from langchain_moa import ChatMoA, ClosedLayer
        from langchain_moa.strategies import Compare


        def unlike_the_first(layer: ClosedLayer):
            matrix = yield Compare(texts=layer.texts, by="lexical")
            return [each for place, each in enumerate(layer.references) if place == 0 or matrix[0][place] < 0.5]


        moa = ChatMoA.from_preset("local", reference_filters=[unlike_the_first])
        ```
    """

    texts: Sequence[str]
    by: Similarity


Request: TypeAlias = Ask | Compare
"""What an inquiry may yield."""

Inquiry: TypeAlias = Generator[Request, Any, T]
"""A strategy under way that ends in a `T`."""


async def conduct(inquiry: Inquiry[T], answer: Callable[[Any], Awaitable[Any]], context: Context | None = None) -> T:
    """Conduct an inquiry to its result; its own code runs in worker threads.

    Args:
        inquiry: The inquiry.
        answer: From what it yields to what it is sent.
        context: The context that it runs in. Default: a copy of the current one.
    """
    context = context or copy_context()
    reply: Any = None

    def step() -> tuple[bool, Any]:
        try:
            return False, inquiry.send(reply)
        except StopIteration as end:
            return True, end.value

    while True:
        is_done, found = await in_worker(step, context=context)
        if is_done:
            return found  # type: ignore[no-any-return]  # what a generator returns comes untyped
        reply = await answer(found)


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
