"""Judge: a model scores the answers, and those that score low are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, RootModel

from langchain_moa.strategies.ballot import Ballot
from langchain_moa.strategies.decision import decide, reads_json
from langchain_moa.strategies.definition import Model, strategy

if TYPE_CHECKING:
    from langchain_moa.closed_layer import ClosedLayer
    from langchain_moa.reference import Reference
    from langchain_moa.strategies.inquiry import Inquiry

__all__ = ["Judge"]

JUDGE = (
    "You grade responses to a conversation's last message from 1 (wrong, harmful or beside the point) to 10 (right, complete "
    "and clear). Length, tone and confidence are no merits of their own, and neither is the order of the responses."
)
"""What the judge is told it is."""

_WORST, _BEST = 1, 10


class _Scores(RootModel[dict[str, Annotated[float, Field(ge=_WORST, le=_BEST)]]]):
    """A grade for each label."""


@strategy
class Judge:
    """Keep the references that a model grades well: the LLM as a judge, on all of a layer's references in one call.

    A reply that does not grade every reference is asked for once more; then, or if the model fails, all are kept. If none
    reaches the grade, the best ones are kept.

    Attributes:
        min_score: The grade that a reference needs, from 1 to 10.
        keep: How many to keep at most, the best ones; of equals the first proposers'. Default: all that reach the grade.
        model: Who grades. Default: the mixture's aggregator.
        instruction: What it is told to look at.
        seed: Another seed draws other orders.

    Example:
        ```python
        from langchain_moa import ChatMoA
        from langchain_moa.filters.judge import Judge

        moa = ChatMoA(
            proposers=["local:smollm2-135m"] * 3,
            aggregator="local:smollm2-135m",
            reference_filters=[Judge(min_score=6)],
        )
        ```
    """

    min_score: float = Field(default=5, ge=_WORST, le=_BEST)
    keep: int | None = Field(default=None, ge=1)
    model: Model = None
    instruction: str = JUDGE
    seed: int = 0

    def __call__(self, layer: ClosedLayer) -> Inquiry[list[Reference]]:
        """Return the references that are graded well enough."""
        if len(layer.references) == 1:
            return list(layer.references)
        ballot = Ballot.of(layer.references, seed=self.seed)
        example = ", ".join(f'"{label}": 5' for label in ballot.labels)
        form = f"JSON of the form {{{example}}}, with a grade from {_WORST} to {_BEST} for each"

        def read(reply: str) -> dict[str, float] | None:
            scores = reads_json(_Scores)(reply)
            return scores.root if scores is not None and scores.root.keys() == ballot.labelled.keys() else None

        messages = ballot.to_messages(
            layer.messages, self.instruction, f"Grade every response. Reply with {form}, and nothing else."
        )
        scores, _ = yield from decide(messages, read, name="judge", model=self.model, form=form)
        if scores is None:
            return list(layer.references)
        score_of = {id(ballot.labelled[label]): score for label, score in scores.items()}
        ranked = sorted(layer.references, key=lambda each: -score_of[id(each)])
        needed = min(self.min_score, score_of[id(ranked[0])])
        kept = [each for each in ranked if score_of[id(each)] >= needed][: self.keep]
        return [each for each in layer.references if any(each is other for other in kept)]
