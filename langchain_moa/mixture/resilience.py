"""How a mixture survives its members: retries, time limits, stand-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, PlainValidator

from langchain_moa.data.validation import at, each
from langchain_moa.limits.quorum import Closing, quorum_of
from langchain_moa.limits.retry import Retry
from langchain_moa.members.proposer import Proposer

if TYPE_CHECKING:
    from collections.abc import Iterable


def _coerce_fallbacks(value: Any) -> tuple[Proposer, ...]:
    # One alone may stand without a list.
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return each(items, Proposer.coerce)


class Resilience(BaseModel):
    """The fields of a mixture that say what happens when a member fails or is slow.

    Attributes:
        aggregator_fallbacks: Members that stand in for the aggregator, in this order, when it raises, answers nothing, is cut
            by a content filter, or calls a tool that nobody has given it; in a stream as long as nothing has been streamed.
            Where nobody is left, what a filter has left and such a call are passed on. A refusal is an answer, but in a
            stream, where OpenAI's chat client leaves it out, an empty one. All three are told as the `error` of the
            aggregator's entry in `response_metadata["moa"]`, and in `degraded`. They stand in as well where a strategy asks
            the aggregator (a ranker, a judge, a moderator) and it has nothing usable to say. Default: none.
        retry: How a failed call is tried again; see `Retry` on how it gets along with the retries of the members' own
            clients. Default: those alone.
        proposer_timeout: Seconds that a proposer has for its answer, retries included, from the moment that it is asked: the
            wait for a place (`max_concurrency`) does not count. After that it has failed. A verdict that a strategy asks of a
            model (a ranker's, a judge's, a moderator's) has as many. `None` is as many as it takes. Default: 600.
        deadline: Seconds for the whole answer, from the moment that the first proposer is asked, or, in a run that is resumed,
            from there. What is left at any time is shared equally by the layers to come and the aggregator; a layer
            whose share is over goes on with the good answers that it has, if they are enough, and its stragglers are late.
            A filter or stop condition whose share is over is passed over, and the answer says so. An aggregator that outlasts
            it has failed. Default: as many as it takes.
        quorum: How many good answers close a layer early: a number of its proposers, or a share of them (0.75), rounded up.
            The stragglers are cancelled, and recorded as late. Default: all are waited for.
        quorum_grace: Seconds that the stragglers have once the quorum is there. Default: 1.
    """

    aggregator_fallbacks: Annotated[Sequence[Any], PlainValidator(_coerce_fallbacks)] = ()
    retry: Annotated[Retry | Mapping[str, Any] | None, PlainValidator(Retry.coerce)] = None
    proposer_timeout: float | None = Field(default=600.0, gt=0, allow_inf_nan=False)
    deadline: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    quorum: int | float | None = None
    quorum_grace: float = Field(default=1.0, ge=0, allow_inf_nan=False)


def closings(mixture: Resilience, sizes: Iterable[int], *, enough: int) -> list[Closing]:
    """Return when each layer of a mixture closes.

    Args:
        mixture: The mixture.
        sizes: How many proposers each layer has.
        enough: How many good answers a layer cannot do without.

    Raises:
        ValueError: A layer has fewer proposers than it needs answers, or its quorum is less than that.
    """
    rules = []
    widths = list(sizes)
    for layer, size in enumerate(widths, start=1):
        if enough > size:
            msg = f"min_references is {enough}, but layer {layer} has only {size} proposers; give {size} or less"
            raise ValueError(msg)
        with at(f"layer {layer}"):
            quorum = quorum_of(mixture.quorum, size)
        if quorum is not None and quorum < enough:
            msg = f"quorum asks for {quorum} answers in layer {layer}, but min_references for {enough}; give a higher quorum"
            raise ValueError(msg)
        rules.append(
            Closing(
                size=size,
                enough=enough,
                quorum=quorum,
                grace=mixture.quorum_grace,
                deadline=mixture.deadline,
                layers=len(widths),
                layer=layer,
            )
        )
    return rules
