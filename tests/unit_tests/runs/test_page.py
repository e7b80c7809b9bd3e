"""The page of a run, as a file: what its policy allows is exactly what is in it."""

from __future__ import annotations

import base64
import hashlib
import re

from langchain_moa.runs import Attempt, Message, summary_html
from langchain_moa.runs.waterfall import WIDTH, stages_of, ticks_of
from tests.recorded_runs import a_call, a_run


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
        prompt=[Message(type=evil, content=evil, name=evil, tool_calls=[{"name": evil}])],
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
        question=[Message(type="human", content=evil)],
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
            Attempt(started=0.5, done=1.0, status="failed", error={"kind": "E", "message": "m"}),
            Attempt(started=1.25, first_token=1.375, done=1.5, status="ok"),
        ],
    )
    late = a_call(proposer=2, status="late", queued=0.0, done=2.0, attempts=[Attempt(started=0.0, status="cancelled")])
    stages = stages_of(a_run(retried, late, seconds=2.0))
    first, second = stages[0].rows
    assert [(bar.kind, bar.x, bar.width) for bar in first.bars] == [
        ("queued", 0.0, 250.0),
        ("failed", 250.0, 250.0),
        ("pause", 500.0, 125.0),
        ("before", 625.0, 62.5),
        ("ok", 687.5, 62.5),
    ]
    assert (first.words, second.words) == ("answered, 1 retry", "late")
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
    assert "Nobody was called." in html


def test_an_edited_reference_is_shown_as_it_was_said_and_as_it_was_read() -> None:
    run = a_run(a_call("Bees make honey.", shown_as="Bees make wax."), a_call(layer=None), answer="Bees make wax.")
    html = run.to_html()
    assert '<div class="said" dir="auto"><p>Bees make honey.</p>' in html
    assert "Changed before it was read" in html
    assert '<div class="said" dir="auto"><p>Bees make wax.</p>' in html
    # What was read is what the answer is compared with.
    assert "<ins>" not in html.partition('class="pieces"')[2].partition("</details>")[0]


def test_sums_that_lack_a_call_say_so() -> None:
    run = a_run(a_call(), a_call(proposer=2, usage=None), a_call(proposer=3, status="failed", usage=None))
    assert run.uncounted == 1
    html = run.to_html()
    assert "<dd>at least 15" in html
    assert "The tokens of 1 answered call were not counted" in html
    assert "<dd>at least 15" in summary_html([run])
    assert "<dd>at least" not in a_run().to_html()
