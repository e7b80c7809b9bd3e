"""The settings of a batch, and the check whether a mixture can keep them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from langchain_moa.batch.limits import callable_members, unpriced
from langchain_moa.batch.ray_asker import require_sendable

if TYPE_CHECKING:
    from langchain_moa.mixture.mixture import Mixture

ROUND = 10_000
"""Rows that are under way at once with `half_price`, so that their calls share jobs."""


class BatchOptions(TypedDict, total=False):
    """The keyword arguments of `batch_answers`, which describes them."""

    output: str | Path | None
    prompt_field: str | None
    system: str | None
    concurrency: int
    max_cost_usd: float | None
    retry_failed: bool
    ordered: bool
    references: bool
    half_price: bool
    poll: float
    ray: str | None
    workers: int


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """The settings of a batch, with their defaults. `batch_answers` describes them.

    Raises:
        ValueError: A number is not above 0, or `ordered` or `retry_failed` is given without an output.
    """

    output: str | Path | None = None
    prompt_field: str | None = None
    system: str | None = None
    concurrency: int = 8
    max_cost_usd: float | None = None
    retry_failed: bool = False
    ordered: bool = False
    references: bool = False
    half_price: bool = False
    poll: float = 30.0
    ray: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("concurrency", "workers", "poll"):
            if (number := getattr(self, name)) <= 0:
                msg = f"{name} is {number:g}; it must be more than 0"
                raise ValueError(msg)
        if (self.ordered or self.retry_failed) and self.output is None:
            msg = f"{'ordered' if self.ordered else 'retry_failed'} needs an output file; give an output"
            raise ValueError(msg)

    @property
    def path(self) -> Path | None:
        """The output file; `None` if there is none. A link is followed, so that two names of one file have one journal."""
        if self.output is None:
            return None
        path = Path(self.output)
        return path.resolve() if path.is_symlink() else path

    @property
    def rows_at_once(self) -> int:
        """How many rows are under way at once."""
        return ROUND if self.half_price else self.concurrency

    def require_possible(self, mixture: Mixture) -> None:
        """Refuse settings that cannot be kept with a mixture.

        Args:
            mixture: The mixture.

        Raises:
            ValueError: `max_cost_usd` is given and a price is unknown, or `max_tokens` is missing with `half_price`; or `ray`
                is given with one of the two.
            BatchError: `ray` is given and the mixture cannot be sent to other processes.
        """
        if self.ray is not None:
            require_sendable(mixture, half_price=self.half_price, max_cost_usd=self.max_cost_usd)
        if self.max_cost_usd is None:
            return
        if unknown := unpriced(callable_members(mixture)):
            msg = f"max_cost_usd cannot be kept: the price of {', '.join(unknown)} is unknown"
            raise ValueError(msg)
        if self.half_price and mixture.max_tokens is None:
            msg = "max_cost_usd with half_price needs max_tokens: all calls of a job are reserved before one is answered"
            raise ValueError(msg)
