"""The settings of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from langchain_moa.batch.limits import callable_members, unpriced
from langchain_moa.batch.ray_asker import require_sendable

if TYPE_CHECKING:
    from langchain_moa.mixture.mixture import Mixture

ROUND = 10_000
"""The number of concurrent rows with `half_price`, so that their calls share jobs."""


class BatchOptions(TypedDict, total=False):
    """The keyword arguments of `batch_answers`; see there."""

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
    """The settings of a batch, with their defaults; see `batch_answers`.

    Raises:
        ValueError: A number is not positive, or `ordered` or `retry_failed` is given without an output.
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
        """The output file, or `None`. A symbolic link is resolved, so that both names of a file have the same journal."""
        if self.output is None:
            return None
        path = Path(self.output)
        return path.resolve() if path.is_symlink() else path

    @property
    def rows_at_once(self) -> int:
        """The maximum number of concurrent rows."""
        return ROUND if self.half_price else self.concurrency

    def require_possible(self, mixture: Mixture) -> None:
        """Check that the settings work with a mixture.

        Args:
            mixture: The mixture.

        Raises:
            ValueError: `max_cost_usd` is given and a price is unknown, or with `half_price` and without `max_tokens`; or `ray`
                is given with `max_cost_usd` or `half_price`.
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
