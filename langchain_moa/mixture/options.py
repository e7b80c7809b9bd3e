"""The options of a mixture as keyword arguments, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from pydantic import SecretStr

from langchain_moa.limits.retry import Retry


class MixtureOptions(TypedDict, total=False):
    """The fields of `Mixture` but for `proposers` and `aggregator`; what they mean is said there."""

    num_layers: int
    prompt: str | Callable[..., Any]
    max_reference_tokens: int | None
    min_references: int
    aggregation: Any
    reference_filters: Sequence[Any]
    stop_when: Any
    aggregator_fallbacks: Sequence[Any]
    retry: Retry | Mapping[str, Any] | None
    proposer_timeout: float | None
    deadline: float | None
    quorum: int | float | None
    quorum_grace: float
    temperature: float | None
    max_tokens: int | None
    stop: list[str] | None
    max_concurrency: int | None
    max_cost_usd: float | None
    timeout: float | None
    max_retries: int | None
    api_key: SecretStr | None
