"""The errors of a mixture: what failed, and what had already been paid for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from langchain_core.exceptions import LangChainException, ModelError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from langchain_moa.reference import Reference


class MoAError(LangChainException):
    """Base of the errors that a mixture raises while it runs.

    Attributes:
        references: Every reference of the answer that was under way, the failed ones included, in the order of layers and
            proposers. The good ones have been paid for; nothing of them is lost.

    Example:
        ```python
        try:
            moa.invoke("Why is the sky blue?")
        except MoAError as error:
            drafts = [reference["text"] for reference in error.references if reference["status"] == "ok"]
        ```
    """

    def __init__(self, message: str, *, references: Sequence[Reference] = ()) -> None:
        """Make the error.

        Args:
            message: What happened, free of secrets.
            references: The references of the answer so far.
        """
        super().__init__(message)
        self.references: tuple[Reference, ...] = tuple(references)


class ProposersFailedError(MoAError):
    """Too few proposers of a layer gave a reference, and no earlier layer has any to fall back on.

    The text names each failed proposer, its model and the reason.
    """


class AggregatorFailedError(MoAError):
    """The aggregator raised; the provider's own error is the `__cause__`.

    Where that cause is one of LangChain's standard model errors (`ModelRateLimitError`, `ContextOverflowError`, ...), the
    error raised is an instance of that type as well, so that `with_retry`, `with_fallbacks` and middleware that look for it
    treat a mixture like any other model.
    """


@cache
def _aggregator_error(kind: Hashable) -> type[AggregatorFailedError]:
    """Return the error type for an aggregator whose cause is of a standard kind; `None` for any other."""
    if not (isinstance(kind, type) and issubclass(kind, ModelError)):
        return AggregatorFailedError
    return type(f"Aggregator{kind.__name__}", (AggregatorFailedError, kind), {"__module__": __name__})


def aggregator_failed(cause: Exception, model: str, reason: str, references: Sequence[Reference]) -> AggregatorFailedError:
    """Return the error for an aggregator that raised `cause`.

    Args:
        cause: What the aggregator raised.
        model: The aggregator's model id.
        reason: The cause in words, free of secrets.
        references: The references of the answer.
    """
    # Providers raise subclasses of the standard kinds; the kind proper is the one that langchain-core defines.
    kind = next(
        (base for base in type(cause).__mro__ if base.__module__ == ModelError.__module__ and base is not ModelError),
        None,
    )
    message = f"the aggregator {model} failed: {reason} ({_kept(references)})"
    return _aggregator_error(kind)(message, references=references)


def proposers_failed(references: Sequence[Reference], layer: int, wanted: int) -> ProposersFailedError:
    """Return the error for a layer with fewer good references than are wanted.

    Args:
        references: All references of the answer so far.
        layer: The layer's number, from 1.
        wanted: How many good references it needed.
    """
    of_layer = [reference for reference in references if reference["layer"] == layer]
    good = sum(reference["status"] == "ok" for reference in of_layer)
    lines = [f"layer {layer} has {good} of the {wanted} good references that it needs:"]
    failed = [(reference, failure) for reference in of_layer if (failure := reference["error"]) is not None]
    lines += [f"  - proposer {each['proposer']}, {each['name']}: {why['kind']}: {why['message']}" for each, why in failed]
    return ProposersFailedError("\n".join(lines), references=references)


def _kept(references: Sequence[Reference]) -> str:
    good = sum(reference["status"] == "ok" for reference in references)
    return f"{good} good references are kept in this error's `references`"
