"""Tokens and costs of calls, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from langchain_moa.data.figures import dollars

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_LEAST = "at least "


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The tokens and costs of some calls.

    Attributes:
        tokens_in: Input tokens, as far as providers reported them.
        tokens_out: Output tokens, as far as providers reported them.
        cost_usd: The cost in US dollars, as far as prices are known.
        uncounted: Successful calls without reported tokens.
        unpriced: Calls that used tokens and whose price is unknown.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    uncounted: int = 0
    unpriced: int = 0

    @classmethod
    def of(cls, moa: Mapping[str, Any]) -> Self:
        """Return the spending of an answer's calls.

        Args:
            moa: The answer's `response_metadata["moa"]`.
        """
        from langchain_moa.data.usage import calls_of, total_usage

        calls, usage = calls_of(moa), total_usage(moa)
        paid = [call for call in calls if call["status"] == "ok" or call.get("usage")]
        costs = [call["cost_usd"] for call in paid if call.get("cost_usd") is not None]
        return cls(
            tokens_in=usage["input_tokens"] if usage is not None else 0,
            tokens_out=usage["output_tokens"] if usage is not None else 0,
            cost_usd=sum(costs),
            uncounted=sum(not call.get("usage") for call in paid),
            unpriced=len(paid) - len(costs),
        )

    def __add__(self, other: Spending) -> Spending:
        """Return the sum of both."""
        return Spending(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    def __str__(self) -> str:
        """Return a short description, without unknown values."""
        return " · ".join(part for part in (self._tokens, self._cost) if part)

    @property
    def _tokens(self) -> str:
        if not self.tokens_in and not self.tokens_out:
            return ""
        return f"{AT_LEAST if self.uncounted else ''}{self.tokens_in:,} tokens in, {self.tokens_out:,} out"

    @property
    def _cost(self) -> str:
        return f"{AT_LEAST if self.unpriced else ''}{dollars(self.cost_usd)}" if self.cost_usd else ""
