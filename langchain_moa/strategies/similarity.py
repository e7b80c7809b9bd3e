"""How alike answers are: by their words, by embeddings, or by a function of the user's."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from langchain_core.embeddings import Embeddings
from pydantic import PlainValidator

if TYPE_CHECKING:
    from collections.abc import Sequence

Matrix: TypeAlias = list[list[float]]
"""`matrix[i][j]` is how alike texts i and j are, from 0 to 1."""

LEXICAL = "lexical"

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


def _coerce(value: Any) -> Any:
    if value == LEXICAL or isinstance(value, Embeddings):
        return value
    if isinstance(value, str):
        from langchain.embeddings import init_embeddings

        try:
            return init_embeddings(value)
        except ImportError:
            raise
        except Exception as error:
            msg = f"{value!r} is neither 'lexical' nor embeddings as `init_embeddings` takes them: {error}"
            raise ValueError(msg) from error
    if callable(value):
        return value
    msg = f"give 'lexical', 'provider:model' of embeddings, LangChain embeddings, or a callable, not {type(value).__name__}"
    raise ValueError(msg)


Similarity: TypeAlias = Annotated[str | Embeddings | Callable[[str, str], float], PlainValidator(_coerce)]
"""What compares texts: `lexical` (the words they share, no model), embeddings, or a callable from two texts to 0 to 1."""


def compare(texts: Sequence[str], by: Similarity) -> Matrix:
    """Return how alike texts are.

    Args:
        texts: The texts.
        by: What compares them.
    """
    if isinstance(by, Embeddings):
        return _cosines(by.embed_documents(list(texts)))
    if isinstance(by, str):
        return _pairwise([words(text) for text in texts], _set_cosine)
    return _pairwise(texts, by)


async def acompare(texts: Sequence[str], by: Similarity) -> Matrix:
    """Return how alike texts are, without blocking where embeddings compare them."""
    if isinstance(by, Embeddings):
        return _cosines(await by.aembed_documents(list(texts)))
    return compare(texts, by)


def between(texts: Sequence[str], others: Sequence[str]) -> Matrix:
    """Return how alike texts are to others by the words they share: `matrix[i][j]` is text i and other j, from 0 to 1."""
    columns = [words(other) for other in others]
    return [[_set_cosine(row, column) for column in columns] for row in map(words, texts)]


def mean_to_others(matrix: Matrix) -> list[float]:
    """Return each text's mean similarity to the other ones; 1 for a text alone."""
    others = len(matrix) - 1
    # fsum, so that the mean does not depend on the order of the texts.
    return [math.fsum([*row[:place], *row[place + 1 :]]) / others if others else 1.0 for place, row in enumerate(matrix)]


def medoid(matrix: Matrix) -> int:
    """Return the place of the text that is most like the others; of equals, the first."""
    means = mean_to_others(matrix)
    return means.index(max(means))


def words(text: str) -> frozenset[str]:
    """Return the words of a text, in small letters; a character of a script without spaces is a word."""
    return frozenset(_WORD.findall(text.casefold()))


def _pairwise(items: Sequence[Any], alike: Callable[[Any, Any], float]) -> Matrix:
    matrix = [[1.0] * len(items) for _ in items]
    for i, j in combinations(range(len(items)), 2):
        matrix[i][j] = matrix[j][i] = float(alike(items[i], items[j]))
    return matrix


def _set_cosine(a: frozenset[str], b: frozenset[str]) -> float:
    # Of the measures that need no corpus this one is best at telling an answer to the question from one to another
    # question: edit distances and n-grams of characters compare spelling and order, which answers need not share.
    return len(a & b) / math.sqrt(len(a) * len(b)) if a and b else float(a == b)


def _cosines(vectors: Sequence[Sequence[float]]) -> Matrix:
    units = []
    for vector in vectors:
        length = math.sqrt(math.fsum(x * x for x in vector)) or 1.0
        units.append([x / length for x in vector])
    return _pairwise(units, _cosine)


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0.0, math.fsum(x * y for x, y in zip(a, b, strict=True)))
