"""How similar texts are: by their words, by embeddings, or by a user's function."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import combinations, takewhile
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from langchain_core.embeddings import Embeddings
from langchain_core.runnables.utils import is_async_callable
from pydantic import PlainValidator
from typing_extensions import override

from langchain_moa.limits.portal import in_worker, is_on_portal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self


@dataclass(frozen=True)
class NamedEmbeddings(Embeddings):
    """Embeddings that were given as a string.

    Attributes:
        name: The string.
        model: The embeddings that LangChain's `init_embeddings` returns for it.
    """

    name: str
    model: Embeddings = field(repr=False, compare=False)

    @classmethod
    def of(cls, name: str) -> Self:
        """Make the embeddings that a string names.

        Args:
            name: The embeddings as `provider:model`.

        Raises:
            ValueError: There are no such embeddings, or a key is missing.
            ImportError: The provider's package is not installed; the message has the pip command.
        """
        from langchain.embeddings import init_embeddings

        try:
            model = init_embeddings(name)
        except ImportError:
            raise
        except Exception as error:
            msg = f"{name!r} is not 'lexical', 'ordered', or embeddings that `init_embeddings` can make: {error}"
            raise ValueError(msg) from error
        return cls(name, model)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the name, since clients cannot be pickled."""
        return type(self).of, (self.name,)

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.model.embed_documents(texts)

    @override
    def embed_query(self, text: str) -> list[float]:
        return self.model.embed_query(text)

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return await self.model.aembed_documents(texts)

    @override
    async def aembed_query(self, text: str) -> list[float]:
        return await self.model.aembed_query(text)


def name_of_embeddings(embeddings: Embeddings) -> str:
    """Return the name of embeddings: the string by which they were given, or the name of their class."""
    return embeddings.name if isinstance(embeddings, NamedEmbeddings) else type(embeddings).__name__


Matrix: TypeAlias = list[list[float]]
"""`matrix[i][j]` is the similarity of texts i and j, from 0 to 1."""

LEXICAL = "lexical"
"""Similarity by the words that texts share, in any order."""

ORDERED = "ordered"
"""Similarity by the words that texts share in the same order."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")

# If order counts, so do symbols other than punctuation and Markdown: `x < y` is not `x > y`.
_WORD_OR_SYMBOL = re.compile(rf"{_WORD.pattern}|[^\w\s.,;:!?'\"\u2018-\u201d\u2026()\[\]{{}}*_#`|-]")

# To find the passages that two texts share takes longer, the more often a word of one is in the other. Beyond this, in texts of
# about ten thousand words or with few different ones, only their common beginning and end count as shared.
_MOST_MATCHES = 1_000_000


def _coerce(value: Any) -> Any:
    if value in (LEXICAL, ORDERED) or isinstance(value, Embeddings):
        return value
    if isinstance(value, str):
        return NamedEmbeddings.of(value)
    if callable(value):
        return value
    msg = (
        "give 'lexical', 'ordered', embeddings as 'provider:model', LangChain embeddings, or a callable, "
        f"not {type(value).__name__}"
    )
    raise ValueError(msg)


Similarity: TypeAlias = Annotated[
    str | Embeddings | Callable[[str, str], float] | Callable[[str, str], Awaitable[float]], PlainValidator(_coerce)
]
"""How texts are compared: `lexical` (by shared words), `ordered` (by shared words in the same order), LangChain embeddings or
their name, or a sync or async callable from two texts to a number from 0 to 1."""


async def compare(texts: Sequence[str], by: Similarity) -> Matrix:
    """Return the similarities of texts.

    Comparisons by words and by sync callables run in a worker thread. Embeddings are called with their async methods, except
    on the event loop for sync code, because their async clients may belong to another loop.

    Args:
        texts: The texts.
        by: How the texts are compared. It is not called for a single text.

    Raises:
        ValueError: A similarity is not a number from 0 to 1.
    """
    if isinstance(by, Embeddings):
        if len(texts) < 2:  # noqa: PLR2004  # there is no pair to compare
            return _matrix(texts, {})
        documents = list(texts)
        if is_on_portal():
            return _cosines(await in_worker(lambda: by.embed_documents(documents)))
        return _cosines(await by.aembed_documents(documents))
    if isinstance(by, str):
        return await in_worker(lambda: _by_words(texts, by))

    def compared() -> dict[tuple[int, int], Any]:
        return {(i, j): by(texts[i], texts[j]) for i, j in _pairs(texts)}

    if is_async_callable(by):
        return _matrix(texts, {(i, j): await by(texts[i], texts[j]) for i, j in _pairs(texts)})
    found = await in_worker(compared)
    awaited = [each for each in found.values() if inspect.isawaitable(each)]
    if awaited:
        found = dict(zip(found, await asyncio.gather(*found.values()), strict=True))
    return _matrix(texts, found)


def between(texts: Sequence[str], others: Sequence[str]) -> Matrix:
    """Return the similarities between two sets of texts by shared words: `matrix[i][j]` is text i and other j, from 0 to 1."""
    columns = [words(other) for other in others]
    return [[_set_cosine(row, column) for column in columns] for row in map(words, texts)]


def mean_to_others(matrix: Matrix) -> list[float]:
    """Return each text's mean similarity to the other texts; 1 for a single text."""
    others = len(matrix) - 1
    # fsum makes the mean independent of the order of the texts.
    return [math.fsum([*row[:place], *row[place + 1 :]]) / others if others else 1.0 for place, row in enumerate(matrix)]


def medoid(matrix: Matrix) -> int:
    """Return the index of the text that is most similar to the others; the first one if there are ties."""
    means = mean_to_others(matrix)
    return means.index(max(means))


def words(text: str) -> frozenset[str]:
    """Return the words of a text in lower case; in scripts without spaces, each character is a word."""
    return frozenset(_WORD.findall(text.casefold()))


def _by_words(texts: Sequence[str], by: str) -> Matrix:
    if by == LEXICAL:
        sets = [words(text) for text in texts]
        return _matrix(texts, {(i, j): _set_cosine(sets[i], sets[j]) for i, j in _pairs(texts)})
    # A text of punctuation only is compared unchanged.
    lists = [_WORD_OR_SYMBOL.findall(text.casefold()) or text.split() for text in texts]
    return _matrix(texts, {(i, j): _in_order(lists[i], lists[j]) for i, j in _pairs(texts)})


def _pairs(texts: Sequence[Any]) -> list[tuple[int, int]]:
    return list(combinations(range(len(texts)), 2))


def _matrix(texts: Sequence[Any], alike: dict[tuple[int, int], Any]) -> Matrix:
    matrix = [[1.0] * len(texts) for _ in texts]
    for (i, j), value in alike.items():
        # Rounding errors can make a cosine slightly greater than 1.
        if not isinstance(value, Real) or not 0 <= float(value) <= 1 + 1e-9:
            msg = f"the similarity of two texts is {value!r}; return a number from 0 to 1"
            raise ValueError(msg)
        matrix[i][j] = matrix[j][i] = float(value)
    return matrix


def _set_cosine(a: frozenset[str], b: frozenset[str]) -> float:
    # Among the measures that need no corpus, this one best separates answers to the question from answers to another one.
    # Edit distances and character n-grams compare spelling and order, which answers to the same question need not share.
    return len(a & b) / math.sqrt(len(a) * len(b)) if a and b else float(a == b)


def _in_order(a: list[str], b: list[str]) -> float:
    # Twice the number of words in the common passages, divided by the number of words in both.
    of_b = Counter(b)
    if sum(of_b[word] for word in a) <= _MOST_MATCHES:
        return SequenceMatcher(None, a, b, autojunk=False).ratio()
    start = _common(a, b)
    end = _common(reversed(a[start:]), reversed(b[start:]))
    return 2 * (start + end) / (len(a) + len(b))


def _common(a: Iterable[str], b: Iterable[str]) -> int:
    """Return with how many equal words two texts begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _cosines(vectors: Sequence[Sequence[float]]) -> Matrix:
    units = []
    for vector in vectors:
        length = math.sqrt(math.fsum(x * x for x in vector)) or 1.0
        units.append([x / length for x in vector])
    return _matrix(units, {(i, j): _cosine(units[i], units[j]) for i, j in _pairs(units)})


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0.0, math.fsum(x * y for x, y in zip(a, b, strict=True)))
