"""Vote: the answer is the one that most references give; no model is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PlainValidator

from langchain_moa.aggregation.medoid import central
from langchain_moa.members.proposer import Proposer
from langchain_moa.strategies.aggregation import Choice, Undecided
from langchain_moa.strategies.extract import Extract, tally
from langchain_moa.strategies.registry import strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Vote"]

_AGGREGATOR = "aggregator"


def _coerce_writer(value: Any) -> Proposer | str | None:
    return value if value is None or value == _AGGREGATOR else Proposer.coerce(value)


@strategy
class Vote:
    r"""Majority vote, for tasks with short answers: a number, a letter, an expression.

    The short answer is extracted from each reference; references without one do not vote. The answer is the first reference
    with the most frequent short answer, unchanged. A tie goes to the short answer that comes first in the proposers' order,
    so list the proposer that you trust most first, or set `trust`. If no reference has a short answer, the medoid is the
    answer.

    `response_metadata["moa"]["selected"]` reports how many agree: `votes`, `of`, and their ratio, `agreement`. If the
    agreement is low, you may want to have a person check the answer or, with a `threshold`, a model write it.

    Attributes:
        extract: How the short answer of a text is found. `number`: the number that the text states as its answer, otherwise
            its last number. `letter`: the option that the text last states as its answer. `boxed`: the content of the last
            `\boxed{...}`. `said`: any of these that the text presents as its answer, in a box, in words (`The answer is 18`),
            or alone. `auto` (default): the same as `said`, otherwise the last number. `literal`: a Python or JSON value.
            `text`: a short answer in words; case and surrounding punctuation are ignored. You can also give a callable from a
            text to its short answer or `None`.
        over: Which references vote: those that the `last` layer passes on (default), or the good references of `all` layers.
            A layer that does not see the earlier ones (`prompt="blind"`) passes on their references as well.
        trust: Names of proposers, the most trusted first. Among answers with the same number of votes, the answer of the most
            trusted proposer wins, and its reference is the answer. Proposers that are not listed come last. Default: the
            order of the layers and proposers.
        threshold: The agreement, from 0 to 1, below which the vote is undecided. Default: a vote is always decided.
        undecided: The model that reads the references and writes the answer if the vote is undecided: `aggregator`, or a
            model in any form that `proposers` accepts. Default: the first reference of the majority is the answer in any
            case, and the metadata contain `undecided`.

    Raises:
        ValueError: `undecided` is given without a `threshold`.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.aggregation.vote import Vote

        moa = ChatMoA(proposers=["local:smollm2-135m"] * 5, num_layers=1, aggregation=Vote(extract="number"))
        ```
    """

    extract: Extract = "auto"
    over: Literal["last", "all"] = "last"
    trust: tuple[str, ...] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    undecided: Annotated[Any, PlainValidator(_coerce_writer)] = None

    def __post_init__(self) -> None:
        """Reject a model that would never be called."""
        if self.undecided is not None and self.threshold is None:
            msg = "undecided has no effect without a threshold; set threshold as well, for example to 0.6"
            raise ValueError(msg)

    @property
    def models(self) -> tuple[Proposer | None, ...]:
        """The model that writes the answer if the vote is undecided."""
        if self.undecided is None:
            return ()
        return (None,) if self.undecided == _AGGREGATOR else (self.undecided,)

    @property
    def may_pass_on(self) -> bool:
        """Whether a model writes the answer if the vote is undecided."""
        return self.undecided is not None

    @property
    def may_decide(self) -> bool:
        """Whether the vote can be decided before all answers are in; not with a `threshold`, which needs all of them."""
        return self.threshold is None

    def __call__(
        self,
        messages: Sequence[BaseMessage],  # noqa: ARG002  # an aggregation's arguments
        references: Sequence[Reference],
    ) -> Inquiry[Choice] | Choice | Undecided:
        """Return the most trusted reference of the majority, or the medoid; `Undecided` if a model has to write the answer."""
        # Without `trust`, keep the order of the filters, which may have shuffled the references.
        ordered = references if self.trust is None else self._by_trust(references)
        counted = tally((each["text"] for each in ordered), self.extract)
        if not counted:
            if self.may_pass_on:
                return Undecided({"undecided": {"by": "vote", "votes": 0, "of": len(ordered), "agreement": 0.0}})
            return central(references, fallback="medoid", because="no reference has an answer that can be counted")
        (answer, places), *others = counted
        tied = bool(others) and len(others[0][1]) == len(places)
        agreement = len(places) / len(ordered)
        found = {
            "answer": answer,
            "votes": len(places),
            "of": len(ordered),
            "agreement": round(agreement, 4),
            **({"tie": True} if tied else {}),
        }
        if self.threshold is not None and agreement < self.threshold:
            if self.may_pass_on:
                return Undecided({"undecided": {"by": "vote", **found}})
            found["undecided"] = True
        return Choice(ordered[places[0]], found)

    def decided(self, references: Sequence[Reference], ahead: int) -> str | None:
        """Return why further answers cannot change the vote; `None` if they can.

        Args:
            references: The answers so far.
            ahead: How many answers may still come.
        """
        ordered = self._by_trust(references)
        counted = tally((each["text"] for each in ordered), self.extract)
        if not counted:
            return None
        (answer, places), *others = counted
        most, second = len(places), len(others[0][1]) if others else 0
        # A tie goes to the most trusted proposer, so once it has answered, a tie does not change the vote.
        is_first = places[0] == 0 and self._is_most_trusted(ordered[0])
        if most > second + ahead or (is_first and most == second + ahead):
            return f"{most} of {len(ordered) + ahead} votes are for {answer}"
        return None

    def _by_trust(self, references: Sequence[Reference]) -> Sequence[Reference]:
        places = {name: place for place, name in enumerate(self.trust or ())}
        return sorted(references, key=lambda each: (places.get(each["name"], len(places)), each["layer"], each["proposer"]))

    def _is_most_trusted(self, reference: Reference) -> bool:
        if self.trust:
            return reference["name"] == self.trust[0]
        return (reference["layer"], reference["proposer"]) == (1, 1)
