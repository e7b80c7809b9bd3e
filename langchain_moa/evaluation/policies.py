"""The policies that `langchain-moa tune` tries: ways to choose among the answers of several models.

A policy is a mixture that only chooses among answers, so its answers follow from those of its members. A mixture that writes a
new answer cannot be replayed.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.evaluation.answer_table import AnswerTable

Kind = Literal["alone", "majority", "samples", "pair then third"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind of policy. The fields of a mixture can describe each of them."""

_SIZES = (3, 5)
# Of more models, only the best ones by themselves are combined.
_MOST_MODELS = 10


class Policy(NamedTuple):
    """A way to answer with some of the models, without a further call.

    Attributes:
        kind: `alone`: one model. `majority`: the answer that most of several models come to. `samples`: the same for several
            samples of one. `pair then third`: two models; if they disagree, a better one decides. Of all but `alone`, models
            are asked only until the vote is decided: first as many as could decide it, then one after the other.
        models: The models' places in the table, the most trusted one first, which ties go to; of `pair then third` the third
            one is last; it is the most trusted one.
    """

    kind: Kind
    models: tuple[int, ...]

    def asked(self, table: AnswerTable) -> tuple[int, ...]:
        """Return the places in `models` in the order in which they are asked: the cheapest first, or else as they stand.

        Args:
            table: The answers, with their prices.
        """
        places = tuple(range(len(self.models)))
        if self.kind != "majority" or not table.is_priced:
            return places
        prices = [float(table.costs[:, list(table.samples[model])].mean()) for model in self.models]
        return tuple(sorted(places, key=lambda place: (prices[place], place)))

    @property
    def trust(self) -> tuple[int, ...]:
        """The places in `models`, the most trusted one first."""
        places = tuple(range(len(self.models)))
        return (*places[-1:], *places[:-1]) if self.kind == "pair then third" else places

    @property
    def first(self) -> int:
        """How many are asked at once: as many as can decide the vote."""
        return len(self.models) // 2 + 1

    def title(self, names: Sequence[str]) -> str:
        """Return the policy in words.

        Args:
            names: The models' names.
        """
        named = [names[model] for model in self.models]
        match self.kind:
            case "alone":
                return f"{named[0]} alone"
            case "majority":
                return f"majority of {', '.join(named)}"
            case "samples":
                return f"majority of {len(named)} samples of {named[0]}"
            case _:
                return f"{named[0]} and {named[1]}, then {named[2]} if they disagree"


def policies_of(table: AnswerTable, *, kinds: Sequence[Kind] = KINDS, trust: Sequence[int] | None = None) -> Iterator[Policy]:
    """Yield the policies that can be made of a table's models.

    Args:
        table: The answers.
        kinds: The kinds of policies. Default: all.
        trust: The models, the most trusted one first. Default: by their mean score in the table.
    """
    order = list(trust_order(table) if trust is None else trust)
    if "alone" in kinds:
        yield from (Policy("alone", (model,)) for model in order)
    for size in _SIZES:
        if "majority" in kinds:
            yield from (Policy("majority", models) for models in combinations(order[:_MOST_MODELS], size))
        if "samples" in kinds:
            yield from (Policy("samples", (model,) * size) for model in order if len(table.samples[model]) >= size)
    if "pair then third" in kinds:
        # A third one that is trusted less would be right less often than those that it decides between.
        triples = combinations(order[:_MOST_MODELS], _SIZES[0])
        yield from (Policy("pair then third", (first, second, best)) for best, first, second in triples)


def trust_order(table: AnswerTable) -> list[int]:
    """Return the models, the one with the best mean score first; of equal ones the cheaper, then the first one.

    Args:
        table: The answers.
    """
    import numpy as np

    scores = [float(table.scores[:, list(columns)].mean()) for columns in table.samples]
    prices = [float(np.nan_to_num(table.costs[:, list(columns)], nan=0.0).mean()) for columns in table.samples]
    return sorted(range(len(table.models)), key=lambda model: (-round(scores[model], 9), prices[model], model))
