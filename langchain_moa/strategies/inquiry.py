"""Inquiries: strategies that need a model or a similarity, written once for sync and async.

A strategy that asks is a generator: it yields an `Ask` or a `Compare`, is sent what came of it, and returns its result. The
node that runs it does the calling, counts the tokens and names the call in traces, so a strategy holds nothing but its idea.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.members.proposer import Proposer
    from langchain_moa.strategies.similarity import Similarity

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Ask a model; the inquiry is sent its `Answer`, whose `failure` says so if it gave none or raised.

    Attributes:
        messages: What it is asked.
        name: What the call is named in traces and in the account.
        model: Whom to ask: one of the strategy's `models`, which are made and checked with the mixture. Default: the
            mixture's aggregator; if it fails, its `aggregator_fallbacks` are asked in their order.
        drafts: Whether the text is a draft of the answer; then the user's stop words hold for it, too.

    Example:
        ```python
        def shortest_or_asked(messages: list[BaseMessage], references: list[Reference]) -> Inquiry[str]:
            answer = yield Ask(messages=[*messages], name="second opinion")
            return answer["text"] or min((each["text"] for each in references), key=len)
        ```
    """

    messages: Sequence[BaseMessage]
    name: str
    model: Proposer | None = None
    drafts: bool = False


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare texts; the inquiry is sent a matrix of similarities, from 0 to 1, `matrix[i][j]` that of texts i and j.

    Attributes:
        texts: What is compared.
        by: What compares.
    """

    texts: Sequence[str]
    by: Similarity


Request: TypeAlias = Ask | Compare
"""What an inquiry may yield."""

Inquiry: TypeAlias = Generator[Request, Any, T]
"""A strategy under way that ends in a `T`."""
