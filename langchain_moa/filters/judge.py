"""Judge: a model scores the answers, and those with low scores are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, create_model

from langchain_moa.strategies.ballot import FAIR, Ballot
from langchain_moa.strategies.inquiry import decide, reads_json
from langchain_moa.strategies.registry import Model, strategy

if TYPE_CHECKING:
    from langchain_moa.data.reference import Reference
    from langchain_moa.strategies.inquiry import Inquiry
    from langchain_moa.strategies.layer import ClosedLayer

__all__ = ["Judge"]

JUDGE = (
    "You grade responses to a conversation's last message from 1 (wrong, harmful or beside the point) to 10 (right, complete "
    f"and clear). {FAIR}"
)
"""The judge's instruction."""

_WORST, _BEST = 1, 10


@strategy
class Judge:
    """LLM as a judge: a model grades all references of a layer in one call, and those with good grades are kept.

    If a reply does not grade every reference, the model is asked once more. If that fails as well, or if the model fails, all
    references are kept. If no reference reaches `min_score`, those with the highest grade are kept.

    Attributes:
        min_score: The lowest grade that a reference needs, from 1 to 10. Default: 5.
        keep: The maximum number of references to keep, the best ones; ties go to the first proposers. Default: all that
            reach `min_score`.
        model: The model that grades. Default: the mixture's aggregator.
        instruction: The model's system prompt. Default: grade from 1 (wrong) to 10 (right and complete).
        seed: Seed of the order in which the references are shown. Default: 0.

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
        """Return the references with sufficient grades."""
        if len(layer.references) == 1:
            return list(layer.references)
        ballot = Ballot.of(layer.references, seed=self.seed)
        example = ", ".join(f'"{label}": 5' for label in ballot.labels)
        form = f"JSON of the form {{{example}}}, with a grade from {_WORST} to {_BEST} for each"

        grades: dict[str, Any] = {label: (Annotated[float, Field(ge=_WORST, le=_BEST)], ...) for label in ballot.labels}
        schema = create_model("Grades", __config__=ConfigDict(extra="forbid"), **grades)

        question = f"Grade every response. Reply with {form}, and nothing else."
        ask = ballot.ask(
            layer.messages, instruction=self.instruction, question=question, name="judge", model=self.model, schema=schema
        )
        graded, _ = yield from decide(ask, reads_json(schema), form=form)
        if graded is None:
            return list(layer.references)
        scores = graded.model_dump()
        label_of = {id(reference): label for label, reference in ballot.labelled.items()}
        ranked = sorted((label_of[id(each)] for each in layer.references), key=lambda label: -scores[label])
        needed = min(self.min_score, scores[ranked[0]])
        kept = [label for label in ranked if scores[label] >= needed][: self.keep]
        return ballot.references_named(kept, among=layer.references)
