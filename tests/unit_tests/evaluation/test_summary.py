"""The findings of a comparison and their confidence."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import Counter
from hashlib import sha256
from html import unescape
from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import HumanMessage

from langchain_moa.batch.call_journal import CallRecord
from langchain_moa.batch.calls import FailedCall, QuestionRun
from langchain_moa.evaluation.comparison import ComparisonResult, VariantAnswer, VariantResult
from langchain_moa.evaluation.judge import JudgeTally
from langchain_moa.evaluation.plots import draw_pareto, side_by_side
from langchain_moa.evaluation.questions import Question
from langchain_moa.evaluation.report import document, markdown, page
from langchain_moa.evaluation.summary import ComparisonSummary

pytest.importorskip("scipy", reason="the extra eval is not installed")

if TYPE_CHECKING:
    from langchain_moa.evaluation.variants import Kind


def _result(name: str, kind: Kind, scores: list[float], *, cost: float | None = 0.001, seconds: float = 1.0) -> VariantResult:
    answers = [[VariantAnswer(text="seven words", calls=1, seconds=seconds, cost_usd=cost)] for _ in scores]
    return VariantResult(name=name, kind=kind, answers=answers, scores=scores)


def _failing(name: str, kind: Kind, *, failed: int, of: int, reason: str = "RateLimitError: slow down") -> VariantResult:
    answers = [
        [VariantAnswer(text="", error=reason) if place < failed else VariantAnswer(text="a", calls=1)] for place in range(of)
    ]
    return VariantResult(name=name, kind=kind, answers=answers, scores=[float(place >= failed) for place in range(of)])


def _entry(layer: int | None, seconds: float, cost: float | None) -> CallRecord:
    return CallRecord(
        key="",
        question="",
        about="",
        epoch=1,
        place="",
        layer=layer,
        model="",
        origin="",
        time=0.0,
        seconds=seconds,
        cost_usd=cost,
        message={},
    )


def _summary(*results: VariantResult, tally: JudgeTally | None = None) -> ComparisonSummary:
    return ComparisonSummary.of(ComparisonResult(results=results, tally=tally))


def test_a_clear_difference_is_called_one() -> None:
    mixture = _result("the mixture", "mixture", [1.0] * 90 + [0.0] * 10, cost=0.005, seconds=3.0)
    good = _result("a alone", "member", [1.0] * 50 + [0.0] * 50)
    bad = _result("b alone", "member", [0.0] * 95 + [1.0] * 5)
    summary = _summary(mixture, good, bad)
    [verdict] = summary.verdicts
    assert verdict.startswith("The mixture is better than its best member, a, by 40.0 points (95% interval +3")
    assert verdict.endswith("p < 0.001): more than noise. The mixture takes 5.0 times the cost and 3.0 times the time.")
    assert summary.all_wrong == pytest.approx(0.45)
    assert "| a alone | 50.0 (" in markdown(summary)
    assert "On 45.0% of the questions every member alone is wrong." in markdown(summary)


def test_a_small_difference_is_noise_and_says_how_many_questions_would_show_it() -> None:
    mixture = _result("the mixture", "mixture", [1.0, 1.0, 0.0, 0.0] * 10, cost=None)
    rival = _result("a x 4, Self-MoA", "self-moa", [1.0, 0.0, 0.0, 1.0] * 9 + [0.0, 0.0, 0.0, 1.0])
    member = _result("a alone", "member", [1.0] * 40)
    first, second = _summary(mixture, member, rival).verdicts
    assert first.startswith("The mixture is worse than its best member, a, by 50.0 points")
    assert second.startswith("The mixture is 2.5 points ahead of a x 4, Self-MoA (95% interval ")
    assert "no more than noise on 40 questions. If the difference is real, about " in second
    assert "the cost" not in second


@pytest.mark.parametrize(
    ("mixture", "member", "said"),
    [
        ([1.0], [0.0], "100.0 points ahead of its best member, a .* on only 1 of 1 question: fewer than 6 are too few"),
        (
            [1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0],
            "60.0 points ahead of .* on only 3 of 5 questions: .* about 14 questions would show it",
        ),
        ([0.0] * 100, [1.0] * 4 + [0.0] * 96, "4.0 points behind its best member, a .* on only 4 of 100 questions: fewer"),
        ([1, 0], [0, 1], "The mixture and its best member, a, score the same on 2 questions."),
        ([1.0], [1.0], "The mixture and its best member, a, score the same on 1 question."),
        ([1, 0], [1, 0], "score the same on 2 questions."),
    ],
)
def test_few_questions_that_differ_are_too_few_to_tell(mixture: list[float], member: list[float], said: str) -> None:
    [verdict] = _summary(_result("the mixture", "mixture", mixture), _result("a alone", "member", member)).verdicts
    assert re.search(said, verdict)
    assert "more than noise" not in verdict


def test_a_few_failures_are_told_and_many_are_no_result() -> None:
    mixture = _failing("the mixture", "mixture", failed=0, of=40)
    some = _failing("a alone", "member", failed=3, of=40)
    summary = _summary(mixture, some)
    assert summary.notes == ["a alone: 3 of 40 answers failed and count as wrong: RateLimitError: slow down (3 times)."]
    assert summary.problems == []
    many = _failing("a alone", "member", failed=5, of=40, reason="AuthenticationError: no such key.")
    summary = _summary(mixture, many)
    assert summary.verdicts == ["No verdict on the mixture and its best member, a: 12% of its answers failed."]
    first, last = summary.problems
    assert first == "a alone: 5 of 40 answers failed and count as wrong: AuthenticationError: no such key (5 times)."
    assert "run the same command" in last
    assert first in markdown(summary)


def test_calls_that_a_mixture_did_without_are_named() -> None:
    failed = FailedCall(
        place="layer 1, proposer 2", layer=1, model="openai:b", failure={"kind": "Timeout", "message": "too\nlate"}
    )
    answers = [[VariantAnswer(text="a", calls=2, failed=[failed])], [VariantAnswer(text="a", calls=3)]]
    mixture = VariantResult(name="the mixture", kind="mixture", answers=answers, scores=[1.0, 1.0])
    [note] = _summary(mixture, _result("a alone", "member", [1.0, 1.0])).notes
    assert note == "The mixture: 1 answer is degraded by failed calls: layer 1, proposer 2 (openai:b), Timeout: too late."


@pytest.mark.parametrize(
    ("tally", "notes", "problems"),
    [
        (JudgeTally(judge="j"), ["The judge j was not called: all answers were the same, or had failed."], []),
        (
            JudgeTally(judge="j", pairs=10, turned=3),
            ["The judge j compared 10 pairs .*; for 30% it preferred the same position"],
            [],
        ),
        (JudgeTally(judge="j", pairs=10, silent=1), [".*", "1 of 20 judgments had no verdict and counts as a tie"], []),
        (JudgeTally(judge="j", pairs=10, silent=3), [".*"], ["3 of 20 judgments had no verdict", "run the same command"]),
        (JudgeTally(judge="j", pairs=10, failed=Counter(slow=3)), [".*"], [r"3 of 20 judgments failed: slow \(3 times\)", "."]),
        (
            JudgeTally(judge="j", pairs=1, turned=1),
            ["1 pair .* 100%"],
            ["prefers a position and not an answer; use another judge", "."],
        ),
    ],
)
def test_what_a_judge_did_is_told(tally: JudgeTally, notes: list[str], problems: list[str]) -> None:
    mixture, member = _result("the mixture", "mixture", [0.5, 0.5]), _result("a alone", "member", [0.5, 1.0])
    summary = _summary(mixture, member, tally=tally)
    for found, expected in ((summary.notes, notes), (summary.problems, problems)):
        assert len(found) == len(expected)
        assert all(re.search(said, sentence) for said, sentence in zip(expected, found, strict=True))
    assert summary.all_wrong is None
    assert "50 is even" in markdown(summary)


def test_what_an_answer_takes_by_itself() -> None:
    run = QuestionRun.of("1", [HumanMessage("Why?")])
    run.records += [
        _entry(1, 1.0, 0.1),
        _entry(1, 3.0, 0.1),
        _entry(2, 2.0, 0.1),
        _entry(None, 4.0, 0.1),
        _entry(None, 1.0, 0.1),
    ]
    answer = VariantAnswer.of("text", run)
    assert (answer.calls, answer.seconds) == (5, 10.0)
    assert answer.cost_usd == pytest.approx(0.5)
    run.records.append(_entry(None, 1.0, None))
    assert VariantAnswer.of("text", run).cost_usd is None


def test_a_table_stays_one_whatever_a_member_is_called() -> None:
    names = ["the mixture", "a | b\nc alone"]
    text = markdown(_summary(_result(names[0], "mixture", [1.0]), _result(names[1], "member", [0.0])))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert rows[3].startswith(r"| a \| b c alone |")


@pytest.mark.parametrize(("cost", "shown"), [(0.0000042, "0.0042"), (0.00039, "0.39"), (0.0125, "12.50"), (1.25, "1,250.00")])
def test_dollars_that_are_few_are_told_apart(cost: float, shown: str) -> None:
    assert f" | {shown} | 2 |" in markdown(_summary(_result("the mixture", "mixture", [1.0], cost=cost)))


@pytest.mark.parametrize(("scores", "said"), [([0.0, 1.0], "is wrong"), ([0.25, 0.75], "scores below 50")])
def test_graded_scores_are_not_called_wrong(scores: list[float], said: str) -> None:
    summary = _summary(_result("the mixture", "mixture", scores), _result("a alone", "member", scores))
    assert f"On 50.0% of the questions every member alone {said}." in markdown(summary)


def test_the_document_has_every_answer() -> None:
    failed = FailedCall(place="layer 1, proposer 2", layer=1, model="openai:b", failure={"kind": "Timeout", "message": "late"})
    answers = [[VariantAnswer(text="4 \ud83d", calls=3, seconds=1.5, cost_usd=0.25, failed=[failed])]]
    mixture = VariantResult(name="the mixture", kind="mixture", answers=answers, scores=[1.0])
    member = _failing("a alone", "member", failed=1, of=1)
    questions = [Question(id="q1", text="2 + 2?", answers=("4",))]
    found = json.loads(document(_summary(mixture, member), [mixture, member], questions))
    [question] = found["by_question"]
    assert (question["id"], question["question"], question["right"]) == ("q1", "2 + 2?", ["4"])
    [answer] = question["answers"]["the mixture"]["epochs"]
    assert (answer["text"], answer["calls"], answer["seconds"], answer["cost_usd"]) == ("4 \ud83d", 3, 1.5, 0.25)
    assert answer["failed"] == [
        {"place": "layer 1, proposer 2", "layer": 1, "model": "openai:b", "failure": {"kind": "Timeout", "message": "late"}}
    ]
    assert question["answers"]["a alone"]["epochs"][0]["error"] == "RateLimitError: slow down"
    assert found["figures"][1]["gain"]["differing"] == 1


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([1.0, 2.0, 4.0], [0, 0, 0]),
        ([1.0, 1.0, 4.0], [-0.5, 0.5, 0]),
        ([1.0, 4.0, 1.01, 0.99], [0, 0, 1, -1]),
        ([0.0, 0.0], [-0.5, 0.5]),
        ([2.0], [0]),
    ],
)
def test_points_that_would_cover_each_other_stand_side_by_side(values: list[float], places: list[float]) -> None:
    assert side_by_side(values) == places


@pytest.mark.parametrize(("share", "of"), [(1 / 5, 3), (1 / 3, 25), (0.7, 3)])
def test_equal_scores_that_are_no_binary_fractions_are_drawn(share: float, of: int) -> None:
    pytest.importorskip("matplotlib", reason="the extra eval is not installed")
    summary = _summary(_result("the mixture", "mixture", [share] * of), _result("a alone", "member", [1 - share] * of))
    assert draw_pareto(summary.figures, title="A mixture").startswith(b"\x89PNG")


def test_the_page_shows_what_models_say_as_text() -> None:
    pytest.importorskip("matplotlib", reason="the extra eval is not installed")
    mixture = _result("the mixture", "mixture", [1.0, 0.0])
    member = _result("<script>alert(1)</script> alone", "member", [0.0, 0.0])
    summary = _summary(mixture, member)
    picture = draw_pareto(summary.figures, title="A mixture")
    assert picture.startswith(b"\x89PNG")
    questions = [Question(id="1", text="<b>1?</b>", answers=("2",)), Question(id="2", text="the same for all", answers=("2",))]
    html = page(summary, [mixture, member], questions, title="A mixture", picture=picture)
    assert '<th scope="row">the mixture</th>' in html
    assert "<script>alert" not in html
    assert html.count("<script") == 1
    assert "&lt;b&gt;1?&lt;/b&gt;" in html
    assert "the same for all" not in html
    assert "1 of 2 questions" in html


def test_failover_is_shown_apart() -> None:
    # The member fails on three questions that the mixture answers, and is right elsewhere, as the mixture is.
    mixture = _result("the mixture", "mixture", [1.0] * 40)
    member = _failing("a alone", "member", failed=3, of=40)
    summary = _summary(mixture, member)
    [verdict] = summary.verdicts
    assert "The mixture is 7.5 points ahead of its best member, a" in verdict
    assert "On the 37 questions that both have answered, the mixture's gain is +0.0 (95% interval +0.0 to +0.0)." in verdict
    gain = summary.figures[1].gain_answered
    assert gain is not None
    assert (gain.mean, gain.questions) == (0, 37)


def test_scores_of_nothing_but_0_are_a_question_about_the_scorer() -> None:
    mixture, member = _result("the mixture", "mixture", [0.0] * 30), _result("a alone", "member", [0.0] * 30)
    [verdict] = _summary(mixture, member).verdicts
    assert verdict.startswith("Every variant scores 0 on every question. Check the scorer")
    assert verdict.endswith("The mixture's first answer: 'seven words'")


def test_the_best_member_is_chosen_on_other_questions_than_it_is_judged_by() -> None:
    # Each is right on one fifth of the questions, and would not be chosen for these by the other fifths.
    one, other = [1.0, 0.0, 0.0, 0.0, 0.0] * 8, [0.0, 1.0, 0.0, 0.0, 0.0] * 8
    mixture = _result("the mixture", "mixture", one)
    summary = _summary(mixture, _result("a alone", "member", one), _result("b alone", "member", other))
    # Chosen on all questions, a would be as good as the mixture.
    gain = summary.figures[1].gain
    assert gain is not None
    assert gain.mean == 0
    assert summary.verdicts[0].startswith(
        "The mixture is better than its best member, a for 32 and b for 8 of the questions, by 20.0 points"
    )
    assert "the best member is chosen on other questions than it is evaluated on" in markdown(summary)


def test_fewer_layers_that_are_as_good_are_advised() -> None:
    mixture = _result("the mixture", "mixture", [1.0] * 20 + [0.0] * 10)
    one = _result("after layer 1", "layer", [1.0] * 21 + [0.0] * 9)
    member = _result("a alone", "member", [1.0] * 10 + [0.0] * 20)
    verdicts = _summary(mixture, one, member).verdicts
    assert verdicts[-1] == "After layer 1, the answers are as good: use num_layers=1, which takes 1.0 calls instead of 1.0."
    worse = _result("after layer 1", "layer", [1.0] * 19 + [0.0] * 11)
    assert not any("num_layers" in verdict for verdict in _summary(mixture, worse, member).verdicts)


HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) \x1b]0;owned\x07 \u202egnp \x9b31m `x` alone"


def test_names_and_answers_of_others_do_nothing_in_the_table_and_on_the_page() -> None:
    pytest.importorskip("matplotlib", reason="the extra eval is not installed")
    mixture = _result("the mixture", "mixture", [1.0, 0.0])
    member = _failing(HOSTILE, "member", failed=1, of=2, reason=HOSTILE)
    summary = _summary(mixture, member)
    text = markdown(summary)
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\x9b"}
    assert r"\<img" in text
    assert r"\[a\]" in text
    assert not re.search(r"(?<!\\)<", text)
    picture = draw_pareto(summary.figures, title="A mixture")
    questions = [Question(id=str(n), text=HOSTILE, answers=(HOSTILE,)) for n in range(2)]
    html = page(summary, [mixture, member], questions, title=HOSTILE, picture=picture)
    assert "<img src=x" not in html
    assert not set(html) & {"\x1b", "\x07", "\u202e", "\x9b"}
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    styled, scripted = (b64encode(sha256(text.encode()).digest()).decode() for text in (style, script))
    assert unescape(policy) == (
        f"default-src 'none'; style-src 'sha256-{styled}'; script-src 'sha256-{scripted}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    # No element has an inline style, which the policy would block.
    assert " style=" not in html
