"""What a comparison says, and how sure it is of it."""

from __future__ import annotations

import pytest

from langchain_moa.evaluation.bootstrap import interval
from langchain_moa.evaluation.comparison import Answer, Result
from langchain_moa.evaluation.figures import Summary
from langchain_moa.evaluation.ledger import Entry
from langchain_moa.evaluation.pareto import draw_pareto
from langchain_moa.evaluation.report import markdown, page


def _result(name: str, kind: str, scores: list[float], *, cost: float | None = 0.001, seconds: float = 1.0) -> Result:
    answers = [[Answer(text="seven words", calls=1, seconds=seconds, cost_usd=cost)] for _ in scores]
    return Result(name=name, kind=kind, answers=answers, scores=scores)  # type: ignore[arg-type]  # one of its kinds


def _entry(place: str, seconds: float, cost: float | None) -> Entry:
    return Entry(key="", question="", epoch=1, place=place, model="", seconds=seconds, cost_usd=cost, message={})


def test_an_interval_is_paired_and_the_same_each_time() -> None:
    low, high = interval([1.0] * 30)
    assert (low, high) == (1.0, 1.0)
    differences = [1.0, -1.0, 0.0, 1.0] * 25
    low, high = interval(differences)
    assert low < 0.25 < high
    # The normal approximation: 1.96 times 0.829 by the square root of 100.
    assert low == pytest.approx(0.25 - 0.162, abs=0.03)
    assert high == pytest.approx(0.25 + 0.162, abs=0.03)
    assert interval(differences) == (low, high)
    with pytest.raises(ValueError, match="there are none"):
        interval([])


def test_a_clear_difference_is_called_one() -> None:
    mixture = _result("the mixture", "mixture", [1.0] * 90 + [0.0] * 10, cost=0.005, seconds=3.0)
    good = _result("a alone", "member", [1.0] * 50 + [0.0] * 50)
    bad = _result("b alone", "member", [0.0] * 95 + [1.0] * 5)
    summary = Summary.of([mixture, good, bad])
    [verdict] = summary.verdicts
    assert verdict.startswith("The mixture is better than its best member, a, by 40.0 points (95% interval +3")
    assert verdict.endswith("more than noise. It takes 5.0 times the cost and 3.0 times the time.")
    assert summary.all_wrong == pytest.approx(0.45)
    assert "| a alone | 50.0 (" in markdown(summary)
    assert "On 45.0% of the questions every member alone is wrong." in markdown(summary)


def test_a_small_difference_is_noise_and_says_how_many_questions_would_show_it() -> None:
    mixture = _result("the mixture", "mixture", [1.0, 1.0, 0.0, 0.0] * 10, cost=None)
    rival = _result("a x 4, Self-MoA", "self-moa", [1.0, 0.0, 0.0, 1.0] * 9 + [0.0, 0.0, 0.0, 1.0])
    member = _result("a alone", "member", [1.0] * 40)
    first, second = Summary.of([mixture, member, rival]).verdicts
    assert first.startswith("The mixture is worse than its best member, a, by 50.0 points")
    assert second.startswith("The mixture and a x 4, Self-MoA differ by +2.5 points")
    assert "no more than noise on 40 questions; if the difference is real, about " in second
    assert "the cost" not in second


def test_what_an_answer_takes_by_itself() -> None:
    entries = [
        _entry("layer 1, proposer 1", 1.0, 0.1),
        _entry("layer 1, proposer 2", 3.0, 0.1),
        _entry("layer 2, proposer 1", 2.0, 0.1),
        _entry("aggregator", 4.0, 0.1),
    ]
    answer = Answer.of("text", entries)
    assert (answer.calls, answer.seconds) == (4, 9.0)
    assert answer.cost_usd == pytest.approx(0.4)
    assert Answer.of("text", [*entries, _entry("fallback 1", 1.0, None)]).cost_usd is None


def test_the_page_shows_what_models_say_as_text() -> None:
    pytest.importorskip("matplotlib", reason="the extra eval is not installed")
    from langchain_moa.evaluation.questions import Question

    mixture = _result("the mixture", "mixture", [1.0, 0.0])
    member = _result("<script>alert(1)</script> alone", "member", [0.0, 0.0])
    summary = Summary.of([mixture, member])
    picture = draw_pareto(summary.figures, title="A mixture")
    assert picture.startswith(b"\x89PNG")
    questions = [Question(id="1", text="<b>1?</b>", answers=("2",)), Question(id="2", text="the same for all", answers=("2",))]
    html = page(summary, [mixture, member], questions, title="A mixture", picture=picture)
    assert "<script" not in html
    assert "&lt;b&gt;1?&lt;/b&gt;" in html
    assert "the same for all" not in html
    assert "1 of 2 questions" in html
