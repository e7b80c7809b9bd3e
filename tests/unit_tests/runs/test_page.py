"""The page of a run as a file: its policy allows exactly what it contains."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from typing import TYPE_CHECKING

import pytest

from langchain_moa import Failure
from langchain_moa.runs import AttemptRecord, MessageRecord, summary_html
from langchain_moa.runs.page import page
from langchain_moa.runs.run_page import WIDTH, badge_of, stages_of, ticks_of
from tests.recorded_runs import a_call, a_run

if TYPE_CHECKING:
    from pathlib import Path


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_the_pages_own_style_and_script_only() -> None:
    for html in (a_run().to_html(), summary_html([a_run()])):
        policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', html)[0].replace("&#39;", "'")
        styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
        scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        assert len(styles) == len(scripts) == 1
        assert policy.split("; ") == [
            "default-src 'none'",
            f"style-src {_hash(styles[0])}",
            f"script-src {_hash(scripts[0])}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
        assert " style=" not in html
        assert not re.findall(r'(?:src|href|action)="(?!#)', html)


def test_what_models_and_users_write_is_escaped_wherever_it_stands() -> None:
    evil = '"><script>alert(1)</script>'
    call = a_call(
        evil,
        name=evil,
        model=evil,
        node="merge_1",
        role="step",
        prompt=[MessageRecord(type=evil, content=evil, name=evil, tool_calls=[{"name": evil}])],
        settings={evil: evil},
        usage={"input_tokens": evil},
        error={"kind": evil, "message": evil},
        status="failed",
    )
    run = a_run(
        call,
        a_call(evil, name=evil),
        answer=evil,
        id=evil,
        error={"kind": evil, "message": evil},
        question=[MessageRecord(type="human", content=evil)],
        outcome={"degraded": [evil], "stopped": evil, "selected": {"name": evil, "by": evil}},
        mixture={evil: evil},
        config={evil: evil},
        parameters={evil: evil},
        versions={evil: evil},
    )
    for html in (run.to_html(), summary_html([run]), run._repr_html_()):
        assert "<script>alert" not in html
        assert "alert(1)</script>" not in html


def test_a_notebook_shows_the_page_in_a_frame_that_runs_nothing() -> None:
    html = a_run()._repr_html_()
    assert html.startswith("<iframe sandbox title=")
    assert html.count("<") == 2
    assert a_run()._repr_mimebundle_()["text/plain"] == repr(a_run())


def test_the_bars_of_a_call_follow_its_times() -> None:
    retried = a_call(
        queued=0.0,
        done=1.5,
        attempts=[
            AttemptRecord(started=0.5, done=1.0, status="failed", error={"kind": "E", "message": "m"}),
            AttemptRecord(started=1.25, first_token=1.375, done=1.5, status="ok"),
        ],
    )
    late = a_call(proposer=2, status="late", queued=0.0, done=2.0, attempts=[AttemptRecord(started=0.0, status="cancelled")])
    stages = stages_of(a_run(retried, late, seconds=2.0))
    first, second = stages[0].rows
    assert [(bar.kind, bar.x, bar.width) for bar in first.bars] == [
        ("queued", 0.0, 250.0),
        ("failed", 250.0, 250.0),
        ("pause", 500.0, 125.0),
        ("before", 625.0, 62.5),
        ("ok", 687.5, 62.5),
    ]
    assert (first.badge.words, second.badge.words) == ("answered, 1 retry", "late")
    assert [(bar.kind, bar.x, bar.width) for bar in second.bars] == [("late", 0.0, WIDTH)]
    assert [(tick.at, tick.words) for tick in ticks_of(a_run(seconds=2.0))] == [
        (0.0, "0"),
        (25.0, "500 ms"),
        (50.0, "1 s"),
        (75.0, "1.5 s"),
        (100.0, "2 s"),
    ]


def test_a_run_inside_a_call_has_its_own_rows() -> None:
    inner = a_run(a_call("Wax.", name="inside"), seconds=0.5)
    outer = a_run(a_call(runs=[inner]), a_call("x", layer=None))
    html = outer.to_html()
    assert "1 calls inside" not in html
    assert "1 call inside this mixture" in html
    assert "inside" in html


def test_a_run_without_anything_has_a_page() -> None:
    run = a_run(answer=None, status="cancelled", graph=None, config=None, mixture=None, versions={}, question=[], seconds=0.0)
    html = run.model_copy(update={"calls": []}).to_html()
    assert "There is no answer." in html
    assert "No model was called." in html


def test_an_edited_reference_is_shown_as_it_was_said_and_as_it_was_read() -> None:
    run = a_run(a_call("Bees make honey.", shown_as="Bees make wax."), a_call(layer=None), answer="Bees make wax.")
    html = run.to_html()
    assert '<div class="said " dir="auto"><p>Bees make honey.</p>' in html
    assert "Changed before it was read" in html
    assert '<div class="said " dir="auto"><p>Bees make wax.</p>' in html
    # The answer is compared with the references that were read.
    assert "<ins>" not in html.partition('class="pieces"')[2].partition("</details>")[0]


def test_sums_that_lack_a_call_say_so() -> None:
    run = a_run(a_call(), a_call(proposer=2, usage=None), a_call(proposer=3, status="failed", usage=None))
    assert run.uncounted == 1
    html = run.to_html()
    assert "<dd>at least 15" in html
    assert "The provider did not report the tokens of 1 answered call" in html
    assert "<dd>at least 15" in summary_html([run])
    assert "<dd>at least" not in a_run().to_html()


def test_a_cost_that_lacks_prices_says_how_many() -> None:
    calls = [a_call(proposer=place, cost_usd=0.01 if place <= 7 else None) for place in range(1, 20)]
    run = a_run(*calls)
    assert run.cost_usd is None
    assert str(run.cost) == "at least $0.0700 (7 of 19 calls priced)"
    html = run.to_html()
    assert '<dd>at least $0.0700<span class="note">7 of 19 calls priced</span>' in html


def test_a_mixture_inside_costs_what_its_calls_do() -> None:
    inner = a_run(a_call(cost_usd=0.5), a_call("x", layer=None, cost_usd=None))
    run = a_run(a_call(cost_usd=None, runs=[inner]), a_call("x", layer=None, cost_usd=0.25))
    assert str(run.cost) == "at least $0.7500 (2 of 3 calls priced)"


def test_the_badge_is_green_only_if_nothing_is_missing() -> None:
    late = [a_call("", proposer=place, status="late", usage=None) for place in (2, 3, 4)]
    failed = a_call("", proposer=5, status="failed", usage=None)
    cut = a_call("in all directions,", layer=None, finish_reason="MAX_TOKENS")
    assert badge_of(a_run()) == ("answered", "ok")
    assert badge_of(a_run(a_call(), *late)) == ("degraded: 3 late", "degraded")
    assert badge_of(a_run(a_call(), *late, failed, cut)) == ("degraded: 1 failed, 3 late, cut at max_tokens", "degraded")
    assert badge_of(a_run(finish_reason="length")) == ("degraded: cut at max_tokens", "degraded")
    assert badge_of(a_run(outcome={"degraded": ["a prompt was trimmed"]})) == ("degraded", "degraded")
    assert badge_of(a_run(answer=None, status="failed")) == ("failed", "failed")
    chosen = a_run(a_call("Half an", finish_reason="length"), answer="Half an", outcome={"selected": {"name": "model 1"}})
    assert badge_of(chosen) == ("degraded: cut at max_tokens", "degraded")
    html = a_run(a_call(), *late, cut).to_html()
    assert '<span class="status ok">answered</span>\n<time' not in html
    assert "The answer was cut at max_tokens" in html


def test_every_box_of_the_graph_leads_to_its_call() -> None:
    failed = a_call("", proposer=2, name="broken", status="failed", error={"kind": "E", "message": "m"})
    html = a_run(a_call(name="good"), failed, a_call("x", layer=None)).to_html()
    boxes = re.findall(r'<a class="box (\w+)" href="#(.*?)">\s*<span class="name" dir="auto">(.*?)</span>', html)
    assert boxes == [("ok", "call-1", "good"), ("failed", "call-2", "broken"), ("ok", "call-3", "writer")]
    assert all(f'id="{anchor}"' in html for _, anchor, _ in boxes)


def test_each_attempt_has_the_error_text_of_the_provider() -> None:
    busy = Failure(kind="RateLimitError", message="Error code: 429 - try again in 20s")
    attempts = [
        AttemptRecord(started=0.1, done=0.2, status="failed", error=busy),
        AttemptRecord(started=0.5, done=0.9, status="ok"),
    ]
    html = a_run(a_call(attempts=attempts)).to_html()
    assert "<strong>RateLimitError</strong> Error code: 429 - try again in 20s" in html


def test_an_error_is_shown_once_though_only_the_call_says_that_it_is_temporary() -> None:
    said = Failure(kind="APIError", message="Error code: 503 - overloaded")
    attempts = [AttemptRecord(started=0.1 * number, done=0.1, status="failed", error=said) for number in range(3)]
    html = a_run(a_call("", status="failed", error={**said, "retryable": True}, usage=None, attempts=attempts)).to_html()
    assert html.count("The same error as that of the call") == 3


def test_nothing_is_called_support() -> None:
    run = a_run(a_call("The vaccine does cause autism."), answer="The vaccine does not cause autism.")
    html = run.to_html()
    assert "supported" not in html.replace("does not mean that the reference supports", "")
    assert "0% of the answer is worded like a sentence of a reference" in html
    assert "100% is similar, but differs" in html


def test_other_rooms_have_the_same_page(tmp_path: Path) -> None:
    (tmp_path / "mine.html.j2").write_text(
        '{% extends "base.html.j2" %}{% block title %}{{ title }}{% endblock %}{% block body %}<p>{{ title }}</p>{% endblock %}'
    )
    html = page("mine.html.j2", folder=tmp_path, images=True, title="<b>\u202e")
    assert "<p>&lt;b&gt;[U+202E]</p>" in html
    assert "img-src data:" in html


def test_without_its_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "langchain-moa\[report\]"'):
        page("run.html.j2", folder=tmp_path)


def test_a_huge_text_is_on_the_page_only_where_it_belongs() -> None:
    text = "long " * 20_000
    html = a_run(a_call(text), a_call("x", layer=None), answer="x").to_html()
    # In its call, and compared with the answer; not next to the others.
    assert html.count(text.strip()) == 2
    assert "A text of 100,000 characters; its call shows it." in html
