"""Vote: the answer is the one that most references come to; no model is asked."""

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
    r"""Answer with a reference of the majority, for tasks whose answers are short: a number, a letter, an expression.

    The short answer is extracted from each reference; references without one have no vote. The answer is the first of the
    references that have the most frequent short answer, unchanged. A tie goes to the short answer that comes first in the
    proposers' order, so name the proposer that you trust most first, or give `trust`. Where no reference has a short answer,
    the medoid is the answer.

    `response_metadata["moa"]["selected"]` says how many agree: `votes`, `of`, and their share, `agreement`. A low one is a
    reason to send an answer to a person, or, with a `threshold`, to have a model write it.

    Attributes:
        extract: What the short answer of a text is. `number`: the number said to be the answer, or else the last one.
            `letter`: the option last said to be the answer. `boxed`: what is in the last `\boxed{...}`. `said`: whichever of
            them the text presents as its answer, in a box, in words (`The answer is 18`) or by itself. `auto` (default): the
            same, or else the last number. `literal`: a value of Python or JSON. `text`: a short answer in words, without case
            and punctuation around it. Or a callable from a text to its short answer or `None`.
        over: Whose references vote: those that the `last` layer passes on, or the good ones of `all` layers. A layer that does
            not see the earlier ones (`prompt="blind"`) passes on theirs as well.
        trust: The proposers' names, the most trusted one first: of answers with as many votes, that of the most trusted
            proposer wins, and its reference is the answer. Proposers that are not named come last. Default: the order of the
            layers and proposers.
        threshold: The agreement, from 0 to 1, below which the vote is undecided. Default: it is always decided.
        undecided: Who writes the answer then: `aggregator`, or a model, given as a proposer is; either reads the references.
            Default: the first reference of the majority is the answer all the same, and the metadata say `undecided`.

    Raises:
        ValueError: `threshold` is missing where `undecided` is given.

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
        """Refuse a writer that would never be asked."""
        if self.undecided is not None and self.threshold is None:
            msg = "undecided says who writes where the vote is undecided; give the threshold as well, such as 0.6"
            raise ValueError(msg)

    @property
    def models(self) -> tuple[Proposer | None, ...]:
        """Who writes the answer where the vote is undecided."""
        if self.undecided is None:
            return ()
        return (None,) if self.undecided == _AGGREGATOR else (self.undecided,)

    @property
    def may_pass_on(self) -> bool:
        """Whether a model may write the answer."""
        return self.undecided is not None

    @property
    def may_decide(self) -> bool:
        """Whether some of the answers can be enough: not where the share of all of them counts."""
        return self.threshold is None

    def __call__(
        self,
        messages: Sequence[BaseMessage],  # noqa: ARG002  # an aggregation's arguments
        references: Sequence[Reference],
    ) -> Inquiry[Choice] | Choice | Undecided:
        """Return the most trusted reference of the majority, or else the medoid; `Undecided` where a model is to write."""
        # Without an order of trust, the order is the filters': one of them may have drawn it.
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
        """Return why no further answer can change the vote; `None` if one can.

        Args:
            references: The answers so far.
            ahead: How many may still come.
        """
        ordered = self._by_trust(references)
        counted = tally((each["text"] for each in ordered), self.extract)
        if not counted:
            return None
        (answer, places), *others = counted
        most, second = len(places), len(others[0][1]) if others else 0
        # A tie goes to the most trusted proposer: if that one has answered, it cannot be overtaken by a tie.
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
