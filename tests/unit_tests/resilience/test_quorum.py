"""When a layer closes."""

from __future__ import annotations

import math
from time import monotonic
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from langchain_moa import Mixture
from langchain_moa.limits.quorum import Closing, LayerRound, quorum_of

FAKE = FakeListChatModel(responses=["an answer"])


@pytest.mark.parametrize(
    ("quorum", "size", "number"),
    [(None, 4, None), (1, 4, 1), (4, 4, 4), (0.75, 4, 3), (0.5, 5, 3), (1.0, 6, 6), (0.01, 6, 1), (0.07, 100, 7), (0.3, 10, 3)],
)
def test_a_quorum_is_a_number_or_a_share_rounded_up(quorum: float | None, size: int, number: int | None) -> None:
    assert quorum_of(quorum, size) == number


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"quorum": 3}, "layer 1: quorum is 3, but a layer has 2 proposers; give a number from 1 to 2, or a share like 0.75"),
        ({"quorum": 0}, "layer 1: quorum is 0"),
        ({"quorum": -1}, "layer 1: quorum is -1"),
        ({"quorum": 1.5}, "layer 1: quorum is 1.5; give a number of proposers like 3, or a share of them like 0.75"),
        ({"quorum": 0.0}, "layer 1: quorum is 0.0"),
        ({"quorum": math.nan}, "layer 1: quorum is nan"),
        ({"quorum": 1, "min_references": 2}, "quorum needs only 1 answers in layer 1, but min_references is 2"),
        ({"min_references": 3}, "min_references is 3, but layer 1 has only 2 proposers; give 2 or less"),
        ({"quorum_grace": -1}, "quorum_grace"),
        ({"deadline": 0}, "deadline"),
        ({"proposer_timeout": math.inf}, "proposer_timeout"),
    ],
)
def test_an_impossible_rule_is_refused_at_construction(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        Mixture(proposers=[FAKE, FAKE], aggregator=FAKE, **options)


def test_a_quorum_is_checked_against_every_layer() -> None:
    with pytest.raises(ValueError, match="layer 2: quorum is 2, but a layer has 1 proposers"):
        Mixture(proposers=[[FAKE, FAKE], [FAKE]], aggregator=FAKE, quorum=2)


def opened(*, ago: float = 0.0, **rules: Any) -> LayerRound:
    """Return a round whose answer began some seconds ago."""
    return LayerRound(Closing(**rules), monotonic() - ago)


def left(current: LayerRound) -> float:
    with current.joined(None) as limit:
        return limit.left()


def test_a_round_stays_open_until_the_quorum_is_there() -> None:
    current = opened(size=4, quorum=2, grace=600)
    assert left(current) == math.inf
    current.answered()
    assert left(current) == math.inf
    current.answered()
    assert 300 < left(current) <= 600


def test_a_later_answer_does_not_put_the_end_off() -> None:
    current = opened(size=4, quorum=1, grace=60)
    current.answered()
    before = left(current)
    current.answered()
    assert left(current) <= before


def test_those_inside_hear_of_the_end() -> None:
    current = opened(size=2, quorum=1, grace=0)
    with current.joined(60) as one, current.joined(None) as two:
        heard: list[str] = []
        with one.telling(lambda: heard.append("one")), two.telling(lambda: heard.append("two")):
            current.answered()
        assert sorted(heard) == ["one", "two"]
        assert one.kind == two.kind == "quorum"
        assert one.left() <= 0


def test_those_who_have_left_do_not() -> None:
    current = opened(size=2, quorum=1, grace=0)
    with current.joined(None) as limit:
        pass
    current.answered()
    assert limit.left() == math.inf


def test_a_proposers_own_limit_counts_where_it_is_the_nearer() -> None:
    current = opened(size=2, quorum=1, grace=6000)
    with current.joined(600) as limit:
        limit.begin()
        current.answered()
        assert limit.kind == "timeout"
        assert 300 < limit.left() <= 600


def test_a_deadline_is_shared_by_the_layers_and_the_aggregator() -> None:
    # 9000 s for two layers and the aggregator: 3000 s each.
    rules: Any = {"size": 2, "deadline": 9000.0, "layers": 2}
    first = opened(**rules, layer=1)
    assert 5900 < left(first) <= 6000, "without any answer it waits up to the aggregator's share"
    first.answered()
    assert 2900 < left(first) <= 3000
    # The first layer took 1000 s of its 3000; the two following layers share the rest.
    second = opened(**rules, layer=2, ago=1000)
    second.answered()
    assert 4900 < left(second) <= 5000


def test_the_reason_is_the_same_for_those_who_came_before_and_after() -> None:
    current = opened(size=4, quorum=2, grace=1.5)
    with current.joined(None) as before:
        current.answered()
        current.answered()
    with current.joined(None) as after:
        why = "quorum (2/4) reached, 1.5 s grace elapsed"
        assert [(limit.kind, limit.why) for limit in (before, after)] == [("quorum", why)] * 2
    current = opened(size=2, deadline=9000, layers=2)
    with current.joined(None) as limit:
        why = "the layer's share of the deadline (9000 s) has elapsed"
        assert (limit.kind, limit.why) == ("deadline", why)
        at_the_latest = limit.at
        current.answered()
        assert limit.at < at_the_latest
        assert (limit.kind, limit.why) == ("deadline", why)


def test_a_layer_whose_share_is_over_closes_with_the_first_answer_that_makes_it_enough() -> None:
    late = opened(size=3, enough=2, deadline=9000, layers=1, ago=4400)
    late.answered()
    assert 0 < left(late) <= 100
    hopeless = opened(size=3, deadline=9000, layers=1, ago=6000)
    assert left(hopeless) <= 0
