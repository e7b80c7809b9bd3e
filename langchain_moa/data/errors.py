"""The errors that a mixture raises, which carry the references and steps so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core import exceptions
from langchain_core.exceptions import (
    ContextOverflowError,
    LangChainException,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from langchain_moa.data.usage import Paid, account, total_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.data.reference import Failure, Reference, Step


class OutOfTimeError(TimeoutError):
    """A call was cancelled because its time limit has passed.

    Attributes:
        kind: What set the limit: `timeout`, `quorum`, `deadline` or `decided`.
        was_sent: Whether the call had been made. A call that was still waiting for its turn costs nothing.
    """

    def __init__(self, kind: str, message: str, *, was_sent: bool = True) -> None:
        """Make the error.

        Args:
            kind: What set the limit.
            message: The text of the error.
            was_sent: Whether the call had been made.
        """
        super().__init__(message)
        self.kind = kind
        self.was_sent = was_sent


def was_sent(error: BaseException | None) -> bool:
    """Return whether a failed call had been made, rather than cancelled while it was waiting for its turn.

    Args:
        error: The error of the call, or `None` if it returned an invalid answer.
    """
    return error.was_sent if isinstance(error, OutOfTimeError) else True


class MoAError(LangChainException):
    """Base class of the errors that a mixture raises while it runs.

    Attributes:
        references: All references so far, including failed ones, by layer and proposer. Use them to keep answers that you
            have paid for.
        steps: The other calls so far, in the order in which they were made: rankers, moderators, and failed attempts of an
            aggregator, with their tokens.

    Example:
        ```python
        from langchain_moa import ChatMoA, MoAError

        moa = ChatMoA.from_preset("local")
        try:
            moa.invoke("Why is the sky blue?")
        except MoAError as error:
            drafts = [reference["text"] for reference in error.references if reference["status"] == "ok"]
        ```
    """

    def __init__(self, message: str, *, references: Sequence[Reference] = (), steps: Sequence[Step] = ()) -> None:
        """Make the error.

        Args:
            message: The text of the error, without secrets.
            references: The references so far.
            steps: The other calls so far.
        """
        super().__init__(message)
        self.references: tuple[Reference, ...] = tuple(references)
        self.steps: tuple[Step, ...] = tuple(steps)

    def model_dump(self) -> dict[str, str]:
        """Return the error as plain data. Without this method, LangGraph's server does not send an error's text to clients."""
        return {"error": type(self).__name__, "message": str(self)}


class ProposersFailedError(MoAError):
    """Too few proposers of a layer succeeded, and no earlier layer has references to use instead.

    The message names each failed proposer, its model and the reason.

    Attributes:
        is_retryable: Whether a retry may succeed: enough of the layer's proposers failed with temporary errors, such as a
            rate limit or a lost connection.

    Example:
        ```python
        from langchain_core.runnables import RunnableLambda

        from langchain_moa import ChatMoA, ProposersFailedError


        def offline(messages):
            raise ConnectionError("no network")


        moa = ChatMoA(proposers=[RunnableLambda(offline)], aggregator="local:smollm2-135m")
        try:
            moa.invoke("Why is the sky blue?")
        except ProposersFailedError as error:
            print(error.is_retryable, error)
        ```
    """

    is_retryable: bool = False


class AggregatorFailedError(MoAError):
    """The aggregator and all of its fallbacks raised an error or returned an empty answer, or your aggregation raised an error.

    The provider's own error is the `__cause__`; of several, the first retryable one, or else the first. If it is one of
    LangChain's standard model errors (`ModelRateLimitError`, `ContextOverflowError`, ...), the error is also an instance of
    that type, so that `with_retry`, `with_fallbacks` and middleware handle a mixture like any other model. An aggregator
    that exceeded its time limit raises a `ModelTimeoutError`.

    Attributes:
        causes: The error of each, in the order in which they were called; `None` for an empty answer.
        failures: The reason of each failure, in the same order.

    Example:
        ```python
        from langchain_core.runnables import RunnableLambda

        from langchain_moa import ChatMoA, AggregatorFailedError


        def offline(messages):
            raise ConnectionError("no network")


        moa = ChatMoA(proposers=["local:smollm2-135m"], aggregator=RunnableLambda(offline), num_layers=1)
        try:
            moa.invoke("Why is the sky blue?")
        except AggregatorFailedError as error:
            print(error, [reference["text"] for reference in error.references])
        ```
    """

    causes: tuple[BaseException | None, ...] = ()
    failures: tuple[Failure, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error without its causes, because some clients' errors cannot be pickled."""
        return type(self), self.args, {**vars(self), "causes": ()}


class StrategyFailedError(MoAError):
    """A reference filter, a stop condition or a prompt function of yours raised an error or returned an invalid value.

    Its error is the `__cause__`.

    Example:
        ```python
        from langchain_moa import ChatMoA, ClosedLayer, StrategyFailedError


        def wrong(layer: ClosedLayer):
            return layer.references[99]


        moa = ChatMoA.from_preset("local", reference_filters=[wrong])
        try:
            moa.invoke("Why is the sky blue?")
        except StrategyFailedError as error:
            print(error)
        ```
    """


class AggregatorModelAuthenticationError(AggregatorFailedError, ModelAuthenticationError):
    """The aggregator failed with a `ModelAuthenticationError`."""


class AggregatorModelPermissionDeniedError(AggregatorFailedError, ModelPermissionDeniedError):
    """The aggregator failed with a `ModelPermissionDeniedError`."""


class AggregatorModelInvalidRequestError(AggregatorFailedError, ModelInvalidRequestError):
    """The aggregator failed with a `ModelInvalidRequestError`."""


class AggregatorModelNotFoundError(AggregatorFailedError, ModelNotFoundError):
    """The aggregator failed with a `ModelNotFoundError`."""


class AggregatorModelRateLimitError(AggregatorFailedError, ModelRateLimitError):
    """The aggregator failed with a `ModelRateLimitError`."""


class AggregatorModelAPIError(AggregatorFailedError, ModelAPIError):
    """The aggregator failed with a `ModelAPIError`."""


class AggregatorModelConnectionError(AggregatorFailedError, ModelConnectionError):
    """The aggregator failed with a `ModelConnectionError`."""


class AggregatorModelTimeoutError(AggregatorFailedError, ModelTimeoutError):
    """The aggregator failed with a `ModelTimeoutError`."""


class AggregatorContextOverflowError(AggregatorFailedError, ContextOverflowError):
    """The aggregator failed with a `ContextOverflowError`."""


# LangChain's standard model errors, each with the error for an aggregator that failed with it.
_OF_KIND: dict[type[ModelError], type[AggregatorFailedError]] = {
    ModelAuthenticationError: AggregatorModelAuthenticationError,
    ModelPermissionDeniedError: AggregatorModelPermissionDeniedError,
    ModelInvalidRequestError: AggregatorModelInvalidRequestError,
    ModelNotFoundError: AggregatorModelNotFoundError,
    ModelRateLimitError: AggregatorModelRateLimitError,
    ModelAPIError: AggregatorModelAPIError,
    ModelConnectionError: AggregatorModelConnectionError,
    ModelTimeoutError: AggregatorModelTimeoutError,
    ContextOverflowError: AggregatorContextOverflowError,
}

if hasattr(exceptions, "ModelRefusalError"):  # since langchain-core 1.7.5

    class AggregatorModelRefusalError(AggregatorFailedError, exceptions.ModelRefusalError):
        """The aggregator failed with a `ModelRefusalError`."""

    _OF_KIND[exceptions.ModelRefusalError] = AggregatorModelRefusalError


def aggregator_failed(
    failed: Sequence[tuple[str, Failure, BaseException | None]],
    references: Sequence[Reference],
    steps: Sequence[Step] = (),
    *,
    role: str = "the aggregator ",
) -> AggregatorFailedError:
    """Return the error for an aggregator whose calls, including those of its fallbacks, all failed.

    Args:
        failed: For each member in the order of the calls: its model id or name, the failure, and the error, or `None` if it
            returned an invalid answer.
        references: The references so far.
        steps: The other calls so far, including the failed ones.
        role: The text before the first name in the message.
    """
    reasons = [f"{model} failed: {why['kind']}: {why['message']}" for model, why, _ in failed]
    message = f"{role}{'; then '.join(reasons)}"
    causes = tuple(cause for *_, cause in failed)
    kinds = [(cause, _kind(cause)) for cause in causes if cause is not None]
    # A retryable cause takes precedence, so that the error is retryable, too.
    cause, kind = min(kinds, key=lambda each: not getattr(each[1], "is_retryable", False), default=(None, None))
    error = (AggregatorFailedError if kind is None else _OF_KIND[kind])(message, references=references, steps=steps)
    error.add_note(_kept(references))
    error.causes = causes
    error.failures = tuple(why for _, why, _ in failed)
    error.__cause__ = cause
    return error


def proposers_failed(
    references: Sequence[Reference], layer: int, wanted: int, steps: Sequence[Step] = ()
) -> ProposersFailedError:
    """Return the error for a layer with too few good references.

    Args:
        references: All references so far.
        layer: The number of the layer, from 1.
        wanted: The required number of good references (`min_references`).
        steps: The other calls so far.
    """
    of_layer = [reference for reference in references if reference["layer"] == layer]
    good = sum(reference["status"] == "ok" for reference in of_layer)
    size = len(of_layer)
    many = f"only {good} of {size} proposers in layer {layer} succeeded"
    if not good:
        many = f"all {size} proposers in layer {layer} failed" if size > 1 else f"the only proposer in layer {layer} failed"
    lines = [f"{many} (min_references={wanted}):"]
    failed = [(reference, failure) for reference in of_layer if (failure := reference["error"]) is not None]
    lines += [f"  - proposer {each['proposer']}, {_who(each)}: {why['kind']}: {why['message']}" for each, why in failed]
    error = ProposersFailedError("\n".join(lines), references=references, steps=steps)
    error.is_retryable = good + sum(failure.get("retryable", False) for _, failure in failed) >= wanted
    return error


def paid_for(error: BaseException | None) -> Paid:
    """Return the usage and cost of a failed call, which are known if a nested mixture failed.

    Args:
        error: The error of the call; it, or one of its causes, may be a `MoAError`.
    """
    while error is not None and not isinstance(error, MoAError):
        error = error.__cause__
    if error is None:
        return Paid(usage=None, cost_usd=None)
    moa = account(error.references, None, steps=error.steps, stopped=None)
    return Paid(usage=total_usage(moa), cost_usd=moa.get("cost_usd"))


def _kind(cause: BaseException) -> type[ModelError] | None:
    """Return the standard model error that an error belongs to, or `None`."""
    if isinstance(cause, OutOfTimeError):
        return ModelTimeoutError
    # Providers raise subclasses of the standard errors.
    return next((base for base in type(cause).__mro__ if base in _OF_KIND), None)


def _who(reference: Reference) -> str:
    name, model = reference["name"], reference["model"]
    return name if name == model else f"{name} ({model})"


def _kept(references: Sequence[Reference]) -> str:
    """Return the note that Python shows below a traceback, to point out the error's `references`."""
    good = sum(reference["status"] == "ok" for reference in references)
    return f"good references that are kept in this error's `references`: {good}"
