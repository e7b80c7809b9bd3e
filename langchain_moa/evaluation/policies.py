"""The policies that `langchain-moa tune` evaluates: ways to select among the answers of several models.

A policy is a mixture that only selects among the answers of its members, so that it can be replayed on recorded answers. A
mixture that writes a new answer cannot be replayed.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_moa.evaluation.answer_table import AnswerTable

Kind = Literal["alone", "majority", "samples", "pair then third"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of policies. Each can be expressed as a mixture."""

_SIZES = (3, 5)
# The number of best models to combine.
_MOST_MODELS = 10


class Policy(NamedTuple):
    """A way to select among the answers of some models.

    Attributes:
        kind: `alone`: one model. `majority`: the most frequent answer of several models. `samples`: the same for several
            samples of one model. `pair then third`: two models; if they disagree, a better one decides. Except for `alone`,
            models are called only until the vote is decided: first as many as can decide it, then one at a time.
        models: The indices of the models in the table, the most trusted first, which wins ties. For `pair then third`, the
            most trusted model is the third, which is last.
    """

    kind: Kind
    models: tuple[int, ...]

    def asked(self, table: AnswerTable) -> tuple[int, ...]:
        """Return the indices into `models` in the order of the calls: a majority calls the cheapest first.

        Args:
            table: The answers with their costs.
        """
        places = tuple(range(len(self.models)))
        if self.kind != "majority" or not table.is_priced:
            return places
        prices = [float(table.costs[:, list(table.samples[model])].mean()) for model in self.models]
        return tuple(sorted(places, key=lambda place: (prices[place], place)))

    @property
    def trust(self) -> tuple[int, ...]:
        """The indices into `models`, the most trusted first."""
        places = tuple(range(len(self.models)))
        return (*places[-1:], *places[:-1]) if self.kind == "pair then third" else places

    @property
    def first(self) -> int:
        """The number of models called at first: as many as can decide the vote."""
        return len(self.models) // 2 + 1

    def title(self, names: Sequence[str]) -> str:
        """Return a description of the policy.

        Args:
            names: The names of the models.
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
    """Yield the policies for the models of a table.

    Args:
        table: The answers.
        kinds: The kinds of policies. Default: all.
        trust: The models, the most trusted first. Default: by their mean score in the table.
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
        # The third must be trusted more than the two that it decides between.
        triples = combinations(order[:_MOST_MODELS], _SIZES[0])
        yield from (Policy("pair then third", (first, second, best)) for best, first, second in triples)


def trust_order(table: AnswerTable) -> list[int]:
    """Return the models by descending mean score, then by cost and position.

    Args:
        table: The answers.
    """
    import numpy as np

    scores = [float(table.scores[:, list(columns)].mean()) for columns in table.samples]
    prices = [float(np.nan_to_num(table.costs[:, list(columns)], nan=0.0).mean()) for columns in table.samples]
    return sorted(range(len(table.models)), key=lambda model: (-round(scores[model], 9), prices[model], model))
