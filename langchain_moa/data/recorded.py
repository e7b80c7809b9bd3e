"""The recorded answers of a row: texts by model, and values such as costs for each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.data.rows import Row


def recorded_texts(row: Row, model: str) -> list[str | None]:
    """Return a model's recorded answers, at least one. `None` is a failed call.

    Args:
        row: The row, with `recorded`: by model a text, a list of texts, or null.
        model: The name of the model.

    Raises:
        RowError: An answer is not a text.
    """
    said = row.get("recorded", dict).get(model)
    texts: list[Any] = said if isinstance(said, list) and said else [None if said == [] else said]
    if not all(text is None or isinstance(text, str) for text in texts):
        row.refuse(f"the recorded answer of {model!r} must be a text, a list of texts, or null")
    return texts


def recorded_values(row: Row, field: str, model: str, samples: int, *, most: float = math.inf) -> list[float | None]:
    """Return a field's values for a model's answers, given as a list or as one value for all of them.

    Args:
        row: The row.
        field: The field: the values by model, or one for all models.
        model: The name of the model.
        samples: The number of the model's answers.
        most: The highest value; 1 also allows true and false. Default: no limit.

    Raises:
        RowError: A value is not such a number, or there is not one for each answer.
    """
    given = row.data.get(field)
    value = given.get(model) if isinstance(given, Mapping) else given
    values = value if isinstance(value, list) else [value] * samples

    def fits(each: object) -> bool:
        return isinstance(each, int | float) and 0 <= each <= most and (most == 1 or not isinstance(each, bool))

    if len(values) != samples or not all(each is None or fits(each) for each in values):
        wanted = "of at least 0" if math.isinf(most) else f"from 0 to {most:g}"
        row.refuse(f"{field!r} of {model!r} must be a number {wanted}, or null, for each of its answers")
    return values
