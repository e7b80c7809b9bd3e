from __future__ import annotations

import asyncio
import gc
import math
import pickle
import threading
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from langchain_moa.aggregation.medoid import Medoid
from langchain_moa.limits.portal import wait_for
from langchain_moa.strategies.resolved import described
from langchain_moa.strategies.similarity import ORDERED, compare, mean_to_others, medoid, words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

TEXTS = st.lists(st.text(alphabet="ab c", max_size=12), min_size=1, max_size=7)


def in_a_loop(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    async def run() -> T:
        return await call(*args)

    return asyncio.run(run())


# From async code, and from sync code that waits for it.
everywhere = pytest.mark.parametrize("run", [in_a_loop, wait_for])


class Asynchronous(Embeddings):
    """Embeddings by length, which record how they were called."""

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


async def test_lexical_similarity_is_by_words_not_by_their_order_or_case() -> None:
    matrix = await compare(["the sky is blue", "Blue is the sky!", "grass", ""], "lexical")
    assert matrix[0][1] == 1.0
    assert matrix[0][2] == matrix[0][3] == 0.0
    assert (await compare(["a b", "a c"], "lexical"))[0][1] == pytest.approx(0.5)
    assert (await compare(["", ""], "lexical"))[0][1] == 1.0


async def test_scripts_without_spaces_have_words_too() -> None:
    assert words("天空 is 蓝") == {"天", "空", "is", "蓝"}
    assert 0 < (await compare(["天空是蓝色的", "海是蓝色的"], "lexical"))[0][1] < 1


async def test_ordered_similarity_is_by_words_in_order() -> None:
    assert (await compare(["The dog bit the man.", "the dog bit the man"], "ordered"))[0][1] == 1.0
    assert (await compare(["The dog bit the man.", "The man bit the dog."], "ordered"))[0][1] == pytest.approx(0.4)
    assert (await compare(["x < y", "x > y"], "ordered"))[0][1] == pytest.approx(2 / 3)
    assert (await compare(["a b", "x y"], "ordered"))[0][1] == 0.0


@given(TEXTS)
async def test_order_takes_away_from_similarity_and_adds_nothing(texts: list[str]) -> None:
    matrix = await compare(texts, "ordered")
    for i, row in enumerate(matrix):
        assert row[i] == 1.0
        assert all(0 <= value <= 1 and value == matrix[j][i] for j, value in enumerate(row))


@given(TEXTS)
async def test_similarity_is_symmetric_and_between_0_and_1(texts: list[str]) -> None:
    matrix = await compare(texts, "lexical")
    for i, row in enumerate(matrix):
        assert row[i] == 1.0
        for j, value in enumerate(row):
            assert value == matrix[j][i]
            assert 0 <= value <= 1 + 1e-12


@given(TEXTS, st.randoms())
async def test_the_medoid_does_not_depend_on_the_order_but_for_equals(texts: list[str], random: object) -> None:
    matrix = await compare(texts, "lexical")
    best = max(mean_to_others(matrix))
    shuffled = list(texts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random
    again = await compare(shuffled, "lexical")
    assert max(mean_to_others(again)) == best
    assert texts[medoid(matrix)] in [text for text, mean in zip(texts, mean_to_others(matrix), strict=True) if mean == best]
    assert medoid(matrix) == mean_to_others(matrix).index(best)


def test_the_mean_of_one_alone() -> None:
    assert mean_to_others([[1.0]]) == [1.0]


async def test_embeddings_are_asked_by_their_async_side() -> None:
    embeddings = Asynchronous()
    matrix = await compare(["a", "bb"], embeddings)
    assert matrix[0][1] == pytest.approx(3 / (math.sqrt(2) * math.sqrt(5)))
    assert embeddings.asked == ["async"]


def test_where_sync_code_waits_embeddings_are_asked_by_their_sync_side() -> None:
    """Async clients of embeddings may belong to another event loop."""
    embeddings = Asynchronous()
    matrix = wait_for(compare, ["a", "bb"], embeddings)
    assert matrix[0][1] == pytest.approx(3 / (math.sqrt(2) * math.sqrt(5)))
    assert embeddings.asked == ["sync"]


@everywhere
def test_an_own_function(run: Any) -> None:
    threads: list[threading.Thread] = []

    def alike(one: str, other: str) -> float:
        threads.append(threading.current_thread())
        return float(len(one) == len(other))

    assert run(compare, ["a", "bb", "cc"], alike) == [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    assert {thread.name for thread in threads} == {"moa-call"}, "it keeps no event loop from its work"


@everywhere
def test_an_own_async_function(run: Any) -> None:
    async def alike(one: str, other: str) -> float:
        await asyncio.sleep(0)
        return float(len(one) == len(other))

    assert run(compare, ["a", "bb", "cc"], alike) == [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    plain = lambda one, other: alike(one, other)  # noqa: E731, PLW0108  # no async function itself
    assert run(compare, ["a", "bb"], plain) == [[1.0, 0.0], [0.0, 1.0]]


@everywhere
@pytest.mark.parametrize("value", [math.nan, 1.5, -0.1, None, "0.5"])
def test_an_own_function_returns_a_number_from_0_to_1(run: Any, value: Any) -> None:
    async def alike(one: str, other: str) -> Any:
        return value

    for by in (lambda one, other: value, alike):
        with pytest.raises(ValueError, match="return a number from 0 to 1"):
            run(compare, ["a", "b"], by)


@everywhere
def test_what_an_own_function_raises_is_raised(run: Any) -> None:
    error = LookupError("no such word")

    def fail(one: str, other: str) -> float:
        raise error

    async def afail(one: str, other: str) -> float:
        raise error

    for by in (fail, afail):
        with pytest.raises(LookupError) as raised:
            run(compare, ["a", "b"], by)
        assert raised.value is error


@everywhere
def test_an_own_async_function_that_fails_leaves_no_call_that_is_not_awaited(run: Any) -> None:
    async def afail(one: str, other: str) -> float:
        raise LookupError

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(LookupError):
            run(compare, ["a", "b", "c"], afail)
        gc.collect()
    assert [str(each.message) for each in warned] == []


@everywhere
def test_one_text_is_compared_with_nothing(run: Any) -> None:
    embeddings = Asynchronous()
    for by in (embeddings, lambda a, b: 1 / 0, "lexical", "ordered"):
        assert run(compare, ["a"], by) == [[1.0]]
        assert run(compare, [], by) == []
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
    with pytest.raises(ValueError, match="'lexicall' is not 'lexical', 'ordered', or embeddings"):
        Medoid(similarity="lexicall")


def test_in_very_long_texts_only_the_common_beginning_and_end_count() -> None:
    text = " ".join(["a"] * 2_000)
    assert asyncio.run(compare([text, text], ORDERED))[0][1] == 1
    found = asyncio.run(compare([f"{text} one {text}", f"{text} two {text}"], ORDERED))[0][1]
    assert found == pytest.approx(4_000 / 4_001)
    assert asyncio.run(compare([f"one {text} one", f"two {text} two"], ORDERED))[0][1] == 0
