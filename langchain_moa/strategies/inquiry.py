"""Inquiries: strategies that ask models or compare texts, and model replies that are parsed as decisions."""

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
    """Ask a model. The `yield` returns the model's `Answer`. Its `failure` is set if the call failed or the reply is empty.

    Attributes:
        messages: The messages for the model, or the conversation from which `prompt` makes them.
        name: The name of the call in traces and in the account.
        model: The model to ask: one of the strategy's `models`, which are resolved and checked with the mixture. Default: the
            mixture's aggregator; if it fails, the `aggregator_fallbacks` are asked in their order.
        drafts: Whether the text is a draft of the answer. The aggregator's role and the user's stop words and `max_tokens`
            apply to drafts, but not to verdicts, which they could break. Default: `False`, a verdict.
        references: The references that the model reads. Each is cut to `max_reference_tokens`, and all of them so that the
            prompt fits into the model's context window, as for any other reader. Default: none.
        prompt: How the references are shown: a function from `messages` and `references` to the messages that are sent.
            Default, if there are references: the mixture's `prompt`.
        schema: A pydantic model that the text must match as JSON. If the model's profile has `structured_output`, the provider
            enforces the schema; for other models, describe the form in the prompt as well. Default: free text.

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
    """Compare texts. The `yield` returns a matrix in which `matrix[i][j]` is the similarity of texts i and j, from 0 to 1.

    If embeddings fail, it returns `None`, and the failure is recorded in the answer's steps.

    Attributes:
        texts: The texts to compare.
        by: How the texts are compared: `lexical`, `ordered`, LangChain embeddings, or a callable from two texts to a number
            from 0 to 1.

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
"""What an inquiry can yield."""

Inquiry: TypeAlias = Generator[Request, Any, T]
"""A generator that yields requests and returns a `T`."""


async def conduct(inquiry: Inquiry[T], answer: Callable[[Any], Awaitable[Any]], context: Context | None = None) -> T:
    """Run an inquiry to its result. The inquiry's own code runs in worker threads.

    Args:
        inquiry: The inquiry.
        answer: Returns the result of a request that the inquiry yields.
        context: The context in which the inquiry runs. Default: a copy of the current one.

    Returns:
        The return value of the inquiry.
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
            return found  # type: ignore[no-any-return]  # the return value of a generator is untyped
        reply = await answer(found)


M = TypeVar("M", bound=BaseModel)

_LANGUAGE = re.compile(r"\A\s*json\b", re.IGNORECASE)
_ONE_BLOCK = 3  # the text before, in and after the only block


def decide(ask: Ask, read: Callable[[str], T | None], *, form: str) -> Generator[Ask, Answer, tuple[T | None, str]]:
    """Ask a model for a decision. If its reply cannot be parsed, ask once more for a reply in the required form.

    Args:
        ask: The request.
        read: Parses a reply; returns `None` if the reply does not have the required form.
        form: The form that the reply must have, in words.

    Returns:
        The decision and an empty string; or `None` and the reason why there is no decision, so that the caller can fall back.
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
    """Return the same request with more messages at the end of its conversation."""
    if (prompt := ask.prompt) is None:
        if ask.references:
            return replace(ask, messages=[*ask.messages, *more])
        # Added by the prompt: in `messages`, the repair would count as the user's last message.
        return replace(ask, prompt=lambda messages, _: [*messages, *more])
    return replace(ask, prompt=lambda messages, references: [*prompt(messages, references), *more])


def reads_json(schema: type[M]) -> Callable[[str], M | None]:
    """Return a strict JSON parser.

    The JSON must be the whole reply, or the only fenced Markdown block in it. Truncated JSON is not completed, two objects are
    not resolved to one, and values are not converted to other types.

    Args:
        schema: The pydantic model that the JSON must match.

    Returns:
        A function from a reply to an instance of `schema`; it returns `None` for any other reply.
    """

    def read(reply: str) -> M | None:
        blocks = reply.split("```")
        fenced = [_LANGUAGE.sub("", blocks[1])] if len(blocks) == _ONE_BLOCK else []
        for text in (reply, *fenced):
            try:
                value = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
                return schema.model_validate(value, strict=True)
            except (ValueError, RecursionError):  # invalid JSON, or JSON that does not match the schema
                continue
        return None

    return read


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "an object has a duplicate key"
        raise ValueError(msg)
    return found


def _no_number(name: str) -> NoReturn:
    msg = f"{name} is not a number"
    raise ValueError(msg)
