from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.filters.diverse import Diverse, most_diverse
from langchain_moa.filters.duplicates import Duplicates
from langchain_moa.filters.judge import Judge
from langchain_moa.filters.moderator import Moderator
from langchain_moa.filters.outliers import Outliers, main_cluster
from langchain_moa.limits.portal import wait_for
from langchain_moa.strategies.extract import auto
from langchain_moa.strategies.similarity import compare
from tests.inquiries import Conducted, closed, fails, label_of

TEXTS = st.lists(st.text(alphabet="abc ", max_size=10), min_size=1, max_size=7)


def kept(strategy: Any, *texts: str, **attributes: Any) -> list[str]:
    return Conducted(strategy(closed(*texts, **attributes))).texts


SOLUTION = (
    "Each shelf holds twelve boxes and there are seven shelves in the room, so first multiply twelve by seven, then subtract "
    "the boxes that were sold on Monday, and finally add the delivery of Tuesday evening, which gives a total of {}."
)


class TestDuplicates:
    def test_equal_and_nearly_equal_texts_are_said_once(self) -> None:
        assert kept(Duplicates(), "a b c", "A  b, c!", "c b a", "a b d") == ["a b c", "c b a", "a b d"]
        assert kept(Duplicates(threshold=0.6), "a b c", "a b d", "x y z") == ["a b c", "x y z"]
        assert kept(Duplicates(), SOLUTION.format("84 boxes"), SOLUTION.format("84 boxes today")) == [
            SOLUTION.format("84 boxes")
        ]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("The dog bit the man.", "The man bit the dog."),
            (SOLUTION.format(84), SOLUTION.format(96)),
            (SOLUTION.format(84), SOLUTION.format("84").replace("Tuesday", "the 3rd")),
            (SOLUTION.format("(B)"), SOLUTION.format("(B)") + " Not so."),
            (SOLUTION.format("many"), SOLUTION.format("many").replace("holds", "doesn't hold")),
            (f"{SOLUTION} The answer is A.", f"{SOLUTION} The answer is B."),
            ("It is x < y", "It is x > y"),
            ("\U0001f389", "\U0001f680"),
            (":)", ":("),
        ],
    )
    def test_who_says_something_else_is_heard(self, one: str, other: str) -> None:
        assert kept(Duplicates(), one, other, one) == [one, other]

    def test_at_1_only_equal_texts_go(self) -> None:
        assert kept(Duplicates(threshold=1), "a b", "b a", "A b", "a  b\n") == ["a b", "b a", "A b"]

    @given(TEXTS, st.sampled_from([0.3, 0.6, 0.95, 1.0]))
    def test_what_is_kept_is_different_and_what_is_not_is_like_something_kept(self, texts: list[str], threshold: float) -> None:
        found = Conducted(Duplicates(threshold=threshold)(closed(*texts))).result
        places = [each["proposer"] - 1 for each in found]
        assert places == sorted(places)
        matrix = wait_for(compare, texts, "ordered")
        spaced = [" ".join(text.split()) for text in texts]

        def alike(i: int, j: int) -> bool:
            return spaced[i] == spaced[j] or (threshold < 1 and matrix[i][j] >= threshold)

        def same(i: int, j: int) -> bool:
            return alike(i, j) and auto(texts[i]) == auto(texts[j])

        assert not any(same(i, j) for i, j in combinations(places, 2))
        assert all(any(same(i, j) for j in places if j <= i) for i in range(len(texts)))


class TestDiverse:
    def test_the_one_least_like_the_others_comes_first_then_the_one_least_like_those(self) -> None:
        matrix = [
            [1.0, 0.9, 0.1, 0.5],
            [0.9, 1.0, 0.2, 0.4],
            [0.1, 0.2, 1.0, 0.3],
            [0.5, 0.4, 0.3, 1.0],
        ]
        assert most_diverse(matrix, 1) == [2]
        assert most_diverse(matrix, 2) == [2, 0]
        assert most_diverse(matrix, 4) == [2, 0, 3, 1]

    def test_references_stay_in_the_proposers_order(self) -> None:
        assert kept(Diverse(keep=2), "a b c", "a b d", "x y z") == ["a b c", "x y z"]
        assert kept(Diverse(keep=5), "a", "b") == ["a", "b"]

    @given(TEXTS, st.integers(1, 8))
    def test_it_keeps_as_many_as_it_should(self, texts: list[str], keep: int) -> None:
        found = Conducted(Diverse(keep=keep)(closed(*texts))).result
        places = [each["proposer"] for each in found]
        assert len(places) == min(keep, len(texts))
        assert places == sorted(set(places))


class TestOutliers:
    def test_what_stands_apart_goes(self) -> None:
        texts = ("the sky is blue by day", "by day the sky is blue", "blue is the sky", "buy my soap now")
        assert kept(Outliers(), *texts) == list(texts[:3])

    def test_what_is_merely_different_stays(self) -> None:
        texts = ("the sky is blue by day", "by day the sky is blue", "the sky is red by night")
        assert kept(Outliers(), *texts) == list(texts)
        assert kept(Outliers(apart=0), "a", "b", "a") == ["a", "b", "a"]

    def test_of_two_or_of_two_halves_neither_is_the_outlier(self) -> None:
        assert kept(Outliers(), "a b", "x y") == ["a b", "x y"]
        assert kept(Outliers(), "a b", "x y", "a b", "x y") == ["a b", "x y", "a b", "x y"]

    @given(TEXTS.filter(lambda texts: len(texts) > 1), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
    def test_at_least_half_stays(self, texts: list[str], apart: float) -> None:
        stays = main_cluster(wait_for(compare, texts, "lexical"), apart)
        assert len(stays) == len(set(stays)) >= len(texts) / 2


class TestModerator:
    texts = ("one", "two", "three")

    def reply(self, asked: str, *texts: str, end: Any = False) -> str:
        return json.dumps({"keep": [label_of(asked, text) for text in texts], "end": end})

    def asked(self) -> str:
        return Conducted(Moderator()(self.layer()), "?", "?").sent()

    def layer(self, **attributes: Any) -> Any:
        return closed(*self.texts, number=1, num_layers=3, **attributes)

    def test_it_keeps_and_goes_on(self) -> None:
        done = Conducted(Moderator()(self.layer()), f"```json\n{self.reply(self.asked(), 'three', 'one')}\n```")
        assert done.texts == ["one", "three"]
        assert done.result.stop is None

    def test_it_keeps_and_ends(self) -> None:
        done = Conducted(Moderator()(self.layer()), self.reply(self.asked(), "two", "one", end=True))
        assert done.texts == ["one", "two"]
        assert done.result.stop == "the moderator found that no further layer is needed"
        assert (
            Conducted(Moderator(may_stop=False)(self.layer()), self.reply(self.asked(), "two", "one", end=True)).result.stop
            is None
        )

    def test_what_is_not_of_the_form_is_asked_for_once_more_and_then_everything_stays(self) -> None:
        asked = self.asked()
        bad = [
            "keep A and B",
            self.reply(asked, "one"),
            self.reply(asked, "one", "one"),
            '{"keep": ["A", "Q"], "end": false}',
            '{"keep": ["A", "B"]}',
            self.reply(asked, "one", "two", end="yes"),
        ]
        for reply in bad:
            done = Conducted(Moderator()(self.layer()), reply, self.reply(asked, "one", "two"))
            assert done.texts == ["one", "two"], reply
        done = Conducted(Moderator()(self.layer()), bad[0], bad[1])
        assert done.texts == list(self.texts)
        assert done.result.stop is None
        assert Conducted(Moderator()(self.layer()), fails()).texts == list(self.texts)

    def test_it_asks_nothing_where_nothing_is_to_be_decided(self) -> None:
        last = closed(*self.texts, number=3, num_layers=3)
        assert Conducted(Moderator(keep=3)(last)).texts == list(self.texts)
        assert Conducted(Moderator(keep=3, may_stop=False)(self.layer())).texts == list(self.texts)
        # All references are kept, but whether to stop still has to be decided.
        assert Conducted(Moderator(keep=9)(self.layer()), "?", "?").texts == list(self.texts)


class TestJudge:
    texts = ("one", "two", "three")

    def reply(self, **scores: Any) -> str:
        asked = Conducted(Judge()(closed(*self.texts)), "?", "?").sent()
        return json.dumps({label_of(asked, text): score for text, score in scores.items()})

    def test_what_reaches_the_grade_stays(self) -> None:
        reply = self.reply(one=3, two=5, three=9.5)
        assert Conducted(Judge()(closed(*self.texts)), reply).texts == ["two", "three"]
        assert Conducted(Judge(min_score=9)(closed(*self.texts)), reply).texts == ["three"]
        assert Conducted(Judge(min_score=1, keep=2)(closed(*self.texts)), reply).texts == ["two", "three"]

    def test_the_best_stay_if_none_reaches_the_grade_and_the_first_of_equals(self) -> None:
        reply = self.reply(one=2, two=4, three=4)
        assert Conducted(Judge(min_score=8)(closed(*self.texts)), reply).texts == ["two", "three"]
        assert Conducted(Judge(min_score=8, keep=1)(closed(*self.texts)), reply).texts == ["two"]

    def test_a_reply_that_does_not_grade_each_is_asked_for_once_more(self) -> None:
        good = self.reply(one=1, two=1, three=8)
        cut = self.reply(one=1, two=1, three=10)[:-2]
        for bad in (
            "8, 8, 8",
            cut,
            self.reply(one=3, two=5, three="9"),
            self.reply(one=3, two=5, three=True),
            self.reply(one=3, two=5),
            self.reply(one=3, two=5, three=11),
            self.reply(one=0, two=5, three=5),
        ):
            assert Conducted(Judge()(closed(*self.texts)), bad, good).texts == ["three"], bad
            assert Conducted(Judge()(closed(*self.texts)), bad, bad).texts == list(self.texts)
        assert Conducted(Judge()(closed(*self.texts)), fails()).texts == list(self.texts)

    def test_one_alone_is_not_graded(self) -> None:
        assert Conducted(Judge()(closed("one"))).texts == ["one"]


@pytest.mark.parametrize(
    ("cls", "settings", "said"),
    [
        (Diverse, {"keep": 0}, "keep"),
        (Duplicates, {"threshold": 1.5}, "threshold"),
        (Outliers, {"apart": -1}, "apart"),
        (Judge, {"min_score": 0}, "min_score"),
        (Moderator, {"keep": "two"}, "keep"),
        (Moderator, {"kep": 2}, "kep"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(cls: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"\n{said}\n"):
        cls(**settings)
