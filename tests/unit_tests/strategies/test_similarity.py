from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from langchain_moa.aggregation.medoid import Medoid
from langchain_moa.strategies.description import described
from langchain_moa.strategies.similarity import acompare, compare, mean_to_others, medoid, words

TEXTS = st.lists(st.text(alphabet="ab c", max_size=12), min_size=1, max_size=7)


class Asynchronous(Embeddings):
    """Embeddings by length, which know how they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append("sync")
        return [[1.0, float(len(text))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append("async")
        return [[1.0, float(len(text))] for text in texts]


def test_lexical_similarity_is_by_words_not_by_their_order_or_case() -> None:
    matrix = compare(["the sky is blue", "Blue is the sky!", "grass", ""], "lexical")
    assert matrix[0][1] == 1.0
    assert matrix[0][2] == matrix[0][3] == 0.0
    assert compare(["a b", "a c"], "lexical")[0][1] == pytest.approx(0.5)
    assert compare(["", ""], "lexical")[0][1] == 1.0


def test_scripts_without_spaces_have_words_too() -> None:
    assert words("天空 is 蓝") == {"天", "空", "is", "蓝"}
    assert 0 < compare(["天空是蓝色的", "海是蓝色的"], "lexical")[0][1] < 1


def test_ordered_similarity_is_by_words_in_order() -> None:
    assert compare(["The dog bit the man.", "the dog bit the man"], "ordered")[0][1] == 1.0
    assert compare(["The dog bit the man.", "The man bit the dog."], "ordered")[0][1] == pytest.approx(0.4)
    assert compare(["x < y", "x > y"], "ordered")[0][1] == pytest.approx(2 / 3)
    assert compare(["a b", "x y"], "ordered")[0][1] == 0.0


@given(TEXTS)
def test_order_takes_away_from_similarity_and_adds_nothing(texts: list[str]) -> None:
    matrix = compare(texts, "ordered")
    for i, row in enumerate(matrix):
        assert row[i] == 1.0
        assert all(0 <= value <= 1 and value == matrix[j][i] for j, value in enumerate(row))


@given(TEXTS)
def test_similarity_is_symmetric_and_between_0_and_1(texts: list[str]) -> None:
    matrix = compare(texts, "lexical")
    for i, row in enumerate(matrix):
        assert row[i] == 1.0
        for j, value in enumerate(row):
            assert value == matrix[j][i]
            assert 0 <= value <= 1 + 1e-12


@given(TEXTS, st.randoms())
def test_the_medoid_does_not_depend_on_the_order_but_for_equals(texts: list[str], random: object) -> None:
    matrix = compare(texts, "lexical")
    best = max(mean_to_others(matrix))
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random
    again = compare(shuffled, "lexical")
    assert max(mean_to_others(again)) == best
    assert texts[medoid(matrix)] in [text for text, mean in zip(texts, mean_to_others(matrix), strict=True) if mean == best]
    assert medoid(matrix) == mean_to_others(matrix).index(best)


def test_the_mean_of_one_alone() -> None:
    assert mean_to_others([[1.0]]) == [1.0]


async def test_embeddings_sync_and_async() -> None:
    embeddings = Asynchronous()
    matrix = compare(["a", "bb"], embeddings)
    assert matrix == await acompare(["a", "bb"], embeddings)
    assert matrix[0][1] == pytest.approx(3 / (math.sqrt(2) * math.sqrt(5)))
    assert embeddings.asked == ["sync", "async"]


def test_an_own_function() -> None:
    matrix = compare(["a", "bb", "cc"], lambda a, b: float(len(a) == len(b)))
    assert matrix == [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]


async def test_an_own_async_function() -> None:
    async def alike(one: str, other: str) -> float:
        return float(len(one) == len(other))

    assert await acompare(["a", "bb", "cc"], alike) == [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    with pytest.raises(TypeError, match="the similarity is async; call the mixture with `ainvoke`"):
        compare(["a", "b"], alike)


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.1, None, "0.5"])
async def test_an_own_function_returns_a_number_from_0_to_1(value: Any) -> None:
    with pytest.raises(ValueError, match="return a number from 0 to 1"):
        compare(["a", "b"], lambda one, other: value)
    with pytest.raises(ValueError, match="return a number from 0 to 1"):
        await acompare(["a", "b"], lambda one, other: value)


async def test_one_text_is_compared_with_nothing() -> None:
    embeddings = Asynchronous()
    assert compare(["a"], embeddings) == await acompare(["a"], embeddings) == compare(["a"], lambda a, b: 1 / 0) == [[1.0]]
    assert compare([], embeddings) == []
    assert embeddings.asked == []


def test_embeddings_by_name_are_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    one, other = (Medoid(similarity="openai:text-embedding-3-small") for _ in range(2))
    assert one == other != Medoid(similarity="openai:text-embedding-3-large")
    said = described(one, lambda _: None)  # type: ignore[arg-type, return-value]  # it calls no model
    assert said == described(other, lambda _: None)  # type: ignore[arg-type, return-value]  # as above
    assert said["similarity"] == "openai:text-embedding-3-small"
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  # our own


def test_what_cannot_compare_is_refused_at_construction() -> None:
    assert Medoid(similarity=DeterministicFakeEmbedding(size=3)).similarity
    with pytest.raises(ValueError, match="not int"):
        Medoid(similarity=3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="'lexicall' is neither 'lexical' nor 'ordered' nor embeddings"):
        Medoid(similarity="lexicall")
