from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa import Proposer
from langchain_moa.data.reference import Step
from langchain_moa.stopping.agreement import Agreement
from langchain_moa.stopping.moderator import Moderator
from langchain_moa.stopping.residual import Residual
from tests.inquiries import Conducted, closed, fails, references


def stops(strategy: Any, layer: Any, *answers: Any) -> Any:
    return Conducted(strategy(layer), *answers).result


class TestAgreement:
    def test_by_vote(self) -> None:
        layer = closed("7", "It is 7.", "The answer is 7", "8", number=2)
        assert stops(Agreement(), layer) == "3 of 4 answers of layer 2 agree: 7"
        assert stops(Agreement(threshold=0.8), layer) is None

    def test_what_has_no_answer_does_not_agree(self) -> None:
        assert stops(Agreement(), closed("7", "7", "who knows")) is None
        assert stops(Agreement(), closed("who knows", "nobody")) is None

    def test_those_that_failed_agree_with_nobody(self) -> None:
        assert stops(Agreement(), closed("7", "7", width=3)) is None
        assert stops(Agreement(), closed("7", "7", "7", width=4)) == "3 of 4 answers of layer 1 agree: 7"
        alike = Agreement(similarity="lexical", threshold=0.9)
        assert stops(alike, closed("a b", "a b", width=2)) is not None
        assert stops(alike, closed("a b", "a b", width=5)) is None

    def test_numbers_that_texts_merely_hold_do_not_agree(self) -> None:
        lists = [f"{what}:\n1. {what} more\n2. {what} less\n3. stop" for what in ("Sleep", "Drink", "Run")]
        assert stops(Agreement(), closed(*lists)) is None
        assert stops(Agreement(extract="number"), closed(*lists)) == "3 of 3 answers of layer 1 agree: 3"
        with pytest.raises(ValueError, match=r"extract\n.*give 'said', or 'number' if all answers are numbers"):
            Agreement(extract="auto")

    def test_one_alone_agrees_with_nobody(self) -> None:
        assert stops(Agreement(threshold=0), closed("7")) is None
        assert stops(Agreement(threshold=0), closed("7", "8")) is None

    def test_a_filter_before_it_takes_no_votes_away(self) -> None:
        layer = closed("7", references=references("7"), unfiltered=references("7", "7", "7", "8"))
        assert stops(Agreement(), layer) == "3 of 4 answers of layer 1 agree: 7"

    def test_by_similarity(self) -> None:
        layer = closed("the sky is blue", "blue is the sky", "sky is the blue")
        assert stops(Agreement(similarity="lexical", threshold=0.9), layer) == "the answers of layer 1 are alike (1.00)"
        assert stops(Agreement(similarity="lexical", threshold=0.9), closed("a", "b")) is None

    @given(st.lists(st.sampled_from(["1", "2", "none"]), max_size=6), st.floats(0, 1), st.floats(0, 1))
    def test_a_lower_threshold_stops_no_later(self, texts: list[str], one: float, other: float) -> None:
        low, high = sorted([one, other])
        if stops(Agreement(threshold=high), closed(*texts)) is not None:
            assert stops(Agreement(threshold=low), closed(*texts)) is not None

    @given(st.lists(st.sampled_from(["1", "2", "none"]), max_size=6), st.randoms())
    def test_the_order_is_nothing_to_it(self, texts: list[str], random: Any) -> None:
        before = stops(Agreement(threshold=0.6), closed(*texts))
        random.shuffle(texts)
        assert stops(Agreement(threshold=0.6), closed(*texts)) == before


def verdict(text: str, node: str) -> Step:
    """A model's reply about an earlier layer."""
    return Step(
        turn="turn",
        node=node,
        name="residual",
        model="provider:judge",
        text=text,
        status="ok" if text else "failed",
        error=None,
        usage=None,
        seconds=0.0,
    )


SAME, OTHER = '{"changed": false}', '{"changed": true}'


class TestResidual:
    def layer(self, *texts: str, number: int = 2, earlier: Any = (), **more: Any) -> Any:
        return closed(*texts, number=number, earlier=earlier, **{"num_layers": 5, **more})

    def test_a_model_says_whether_anything_has_changed(self) -> None:
        layer = self.layer("new one", earlier=references("old one"))
        assert stops(Residual(), layer, SAME) == "layer 2 changes nothing against layer 1"
        assert stops(Residual(), layer, OTHER) is None
        done = Conducted(Residual()(layer), OTHER)
        assert done.sent().index("\nnew one\n") < done.sent().index("\nold one\n")
        assert Conducted(Residual(instruction="Compare.")(layer), OTHER).messages()[0].text == "Compare."

    def test_each_layer_is_compared_with_the_one_before(self) -> None:
        earlier = [*references("first", layer=1), *references("second", layer=2)]
        layer = self.layer("third", number=3, earlier=earlier, steps=[verdict(SAME, "merge_2")])
        done = Conducted(Residual(layers=2)(layer), SAME)
        assert len(done.asked) == 1
        assert "\nsecond\n" in done.sent()
        assert "\nfirst\n" not in done.sent()
        assert done.result == "the last 2 layers change nothing"

    @pytest.mark.parametrize(
        "steps",
        [
            [],
            [verdict(OTHER, "merge_2")],
            [verdict(SAME, "merge_2"), verdict(OTHER, "merge_3")],
            [verdict(SAME, "merge_2"), verdict("?", "merge_3"), verdict("??", "merge_3")],
            [verdict(SAME, "merge_2"), verdict("", "merge_3")],
            [{**verdict(SAME, "merge_3"), "name": "moderator"}],
        ],
        ids=["none", "changed", "changed since", "unreadable", "failed", "of another"],
    )
    def test_it_takes_as_many_layers_in_a_row(self, steps: Any) -> None:
        earlier = [*references("a", layer=2), *references("b", layer=3)]
        layer = self.layer("a", number=4, earlier=earlier, steps=steps)
        assert stops(Residual(layers=2), layer, SAME) is None

    def test_a_repair_counts_in_place_of_the_reply(self) -> None:
        steps = [verdict("?", "merge_2"), verdict(SAME, "merge_2")]
        layer = self.layer("a", number=3, earlier=references("a", layer=2), steps=steps)
        assert stops(Residual(layers=2), layer, SAME) == "the last 2 layers change nothing"

    def test_what_cannot_be_read_counts_as_a_change(self) -> None:
        layer = self.layer("new", earlier=references("old"))
        assert stops(Residual(), layer, "nothing", '{"changed": "no"}') is None
        assert stops(Residual(), layer, "nothing", SAME) is not None
        assert stops(Residual(), layer, fails()) is None

    def test_nothing_is_asked_where_it_cannot_end_the_layers(self) -> None:
        assert stops(Residual(), self.layer("a", number=1)) is None
        assert stops(Residual(), self.layer("a", number=2, earlier=references("a"), num_layers=2)) is None
        assert stops(Residual(layers=3), self.layer("a", number=2, earlier=references("a"), num_layers=4)) is None
        assert stops(Residual(), self.layer(number=3, earlier=references("a", layer=2))) is None

    def test_by_similarity_in_each_of_the_last_layers(self) -> None:
        same, other = references("the sky is blue"), references("grass")
        earlier = [*({**each, "layer": 1} for each in other), *({**each, "layer": 2} for each in same)]
        layer = self.layer("blue is the sky", number=3, earlier=earlier)
        assert stops(Residual(similarity="lexical"), layer) == "layer 3 repeats the one before (1.00 alike)"
        assert stops(Residual(similarity="lexical", layers=2), layer) is None
        layer = self.layer("a b", number=3, earlier=[*references("a b", layer=1), *references("b a", layer=2)])
        repeated = "each of the last 2 layers repeats the one before (1.00 alike)"
        assert stops(Residual(similarity="lexical", layers=2), layer) == repeated

    def test_which_models_it_calls(self) -> None:
        judge = Proposer("openai:gpt-4.1")
        assert Residual(model=judge).models == (judge,)
        assert Residual().models == (None,)
        assert Residual(similarity="lexical").models == ()


class TestModerator:
    def test_it_ends_or_goes_on(self) -> None:
        layer = closed("a", "b", number=1, num_layers=3)
        assert stops(Moderator(), layer, '{"end": true}') == "the moderator found that no further layer is needed"
        assert stops(Moderator(), layer, '{"end": false}') is None

    @pytest.mark.parametrize("answers", [("yes", "yes"), ('{"end": "true"}', '{"end": 1}'), (fails(),)])
    def test_it_goes_on_where_it_cannot_be_read(self, answers: Any) -> None:
        assert stops(Moderator(), closed("a", "b", num_layers=3), *answers) is None
