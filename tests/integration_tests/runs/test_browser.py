"""The pages in a real browser: their content, both color schemes, phones, the keyboard, and hostile texts."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from langchain_moa import Failure
from langchain_moa.evaluation.report import render
from langchain_moa.runs import AttemptRecord, MessageRecord, MoARun, append_run, read_runs, summary_html
from tests.integration_tests.runs.browser import browser
from tests.recorded_runs import a_call, a_run
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

__all__ = ["browser"]

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "</style></title></textarea></svg><img src=https://example.com/x.png onerror='window.hacked=1'>",
    "[click](javascript:window.hacked=1) [there](https://example.com) <https://example.com>",
    "![picture](https://example.com/x.png) ![x](file:///etc/passwd) <iframe src=//example.com></iframe>",
    "<svg/onload=window.hacked=1> <a href=x autofocus onfocus=window.hacked=1>x</a> <meta http-equiv=refresh content=0>",
    "{{ 7 * 7 }} {% raw %} ${window.hacked=1} <!-- --> <base href=//example.com>",
    "\u202eesrever\u202c zero\u200bwidth \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "long" * 20_000,
    "wide " * 20_000,
    "|" + "a|" * 60 + "\n|" + "-|" * 60 + "\n|" + "b|" * 60,
    "> " * 400 + "deep",
    "```\n" + "code " * 300 + "\n```",
]


class Opened(NamedTuple):
    page: Page
    requests: list[str]
    complaints: list[str]


@contextmanager
def _opened(browser: Browser, file: Path, *, width: int = 1280, **options: Any) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.set_default_timeout(120_000)
    opened = Opened(page, [], [])
    page.on("request", lambda request: opened.requests.append(request.url))
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("dialog", lambda dialog: opened.complaints.append(dialog.message))
    page.goto(file.as_uri())
    yield opened
    assert opened.requests == [file.as_uri()]
    assert opened.complaints == []
    context.close()


def _full_run() -> MoARun:
    quorum = Failure(kind="quorum", message="it had not answered in time")
    refused = Failure(kind="OpenAIError", message="out of order")
    return a_run(
        a_call("**Bees** make honey. They dance.", name="first"),
        a_call("Wax is made by bees.", proposer=2, name="second"),
        a_call(
            "",
            proposer=3,
            name="slow",
            status="late",
            error=quorum,
            usage=None,
            attempts=[AttemptRecord(started=0.2, status="cancelled")],
        ),
        a_call(
            "",
            proposer=4,
            name="broken",
            status="failed",
            error=refused,
            usage=None,
            attempts=[AttemptRecord(started=0.2, done=0.3, status="failed", error=refused)] * 3,
        ),
        a_call("x", layer=None, name="writer", queued=1.0, done=2.0),
        answer="Bees make honey. Nobody knows why that is so.",
    )


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    _full_run().to_html(tmp_path / "run.html")
    return tmp_path / "run.html"


def test_all_of_a_run_is_on_its_page(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file) as (page, *_):
        assert page.title() == "What do bees make?"
        assert page.get_by_role("heading", level=1).inner_text() == "What do bees make?"
        titles = page.get_by_role("heading", level=2).all_inner_texts()
        assert titles == ["Answer", "Graph", "Calls", "Proposers side by side", "Similar wording", "Settings"]
        boxes = page.locator(".graph .box")
        assert [box.split("\n")[0] for box in boxes.all_inner_texts()] == ["first", "second", "slow", "broken", "writer"]
        # Each box has the color of its outcome.
        kinds = [(box.get_attribute("class") or "").split()[1] for box in boxes.all()]
        assert kinds == ["ok", "ok", "late", "failed", "ok"]
        assert len({box.evaluate("each => getComputedStyle(each).borderLeftColor") for box in boxes.all()}) == 3
        assert page.locator("header .status").inner_text() == "degraded: 1 failed, 1 late"
        calls = page.locator("ol.waterfall > li")
        assert calls.count() == 5
        assert calls.locator("summary .name").all_inner_texts() == ["first", "second", "slow", "broken", "writer"]
        assert page.locator("ol.waterfall summary .status").all_inner_texts() == [
            "answered",
            "answered",
            "late",
            "failed, 2 retries",
            "answered",
        ]
        assert page.locator("#proposers strong", has_text="Bees").count() == 1
        assert page.locator(".shares tr").nth(1).inner_text().split()[:3] == ["1", "first", "33%"]
        assert page.get_by_role("region", name="Settings").locator("pre").first.inner_text().startswith("proposers:")


def test_a_box_of_the_graph_opens_its_call(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file) as (page, *_):
        page.locator(".graph .box", has_text="broken").click()
        page.wait_for_function("document.querySelector('#call-4').open")
        opened = page.locator("#call-4 .opened")
        assert opened.is_visible()
        # It opens directly below its bar.
        # Both are read at once: the page may still be scrolling.
        gap = """() => {
          const place = each => document.querySelector(`#call-4 ${each}`).getBoundingClientRect();
          const [bar, opened] = [".bars", ".opened"].map(place);
          return opened.top - bar.bottom;
        }"""
        assert 0 <= page.evaluate(gap) < 30
        assert opened.locator(".problem").all_inner_texts() == ["OpenAIError out of order"]
        assert opened.locator(".attempts li").count() == 3
        # The same link opens it again.
        page.locator("#call-4 > summary").click()
        page.locator(".graph .box", has_text="broken").click()
        page.wait_for_function("document.querySelector('#call-4').open")


def test_what_a_model_wrote_is_copied_as_it_was_written(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file, permissions=["clipboard-read", "clipboard-write"]) as (page, *_):
        page.locator("#call-1 > summary").click()
        button = page.locator("#call-1 .main .copy").first
        button.click()
        page.wait_for_function("async () => await navigator.clipboard.readText() !== ''")
        assert page.evaluate("navigator.clipboard.readText()") == "**Bees** make honey. They dance."


def test_the_rows_of_a_summary_lead_to_their_runs(browser: Browser, tmp_path: Path) -> None:
    summary_html([_full_run(), a_run()], tmp_path / "summary.html")
    with _opened(browser, tmp_path / "summary.html") as (page, *_):
        assert page.locator("header .status").all_inner_texts() == ["1 degraded", "1 answered"]
        page.locator("#failures a").first.click()
        page.wait_for_function("document.querySelector('#run-1').open")
        page.locator("#run-1 .graph .box", has_text="broken").click()
        page.wait_for_function("document.querySelector('#run-1-call-4').open")
        assert page.locator("#run-1-call-4 .problem").first.is_visible()


def test_long_lists_fold(browser: Browser, tmp_path: Path) -> None:
    messages = [MessageRecord(type="human", content=f"message {number}") for number in range(30)]
    many = [a_call(proposer=place, prompt=messages) for place in range(1, 31)]
    answer = " ".join(f"Sentence number {number} stands here." for number in range(50))
    a_run(*many, a_call(answer, layer=None), answer=answer, question=messages).to_html(tmp_path / "run.html")
    with _opened(browser, tmp_path / "run.html") as (page, *_):
        folds = page.locator("summary", has_text=re.compile(r"^\d+ more"))
        assert {"26 more messages", "14 more calls", "30 more sentences"} <= set(folds.all_text_contents())
        assert page.locator("#call-16").is_visible()
        assert not page.locator("#call-17").is_visible()
        # A link into a folded section opens it.
        page.locator(".graph .box").nth(29).click()
        page.wait_for_function("document.querySelector('#call-30').open")
        assert page.locator("#call-30 .opened").is_visible()


def test_both_schemes_can_be_read(browser: Browser, page_file: Path) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        with _opened(browser, page_file, color_scheme=scheme) as (page, *_):
            for selector in (
                "body",
                ".said",
                ".detail",
                "a",
                ".status.ok",
                ".status.late",
                ".status.failed",
                ".status.degraded",
                ".box.failed .outcome",
                ".box.late .outcome",
                ".box.late .detail",
                ".chip",
                ".problem",
            ):
                contrast = page.evaluate(_CONTRAST, selector)
                assert contrast >= 4.5, (scheme, selector, contrast)
            grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert grounds["light"] != grounds["dark"]


# The contrast according to WCAG, between the first element's text and what is painted below it.
_CONTRAST = """selector => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const [r, g, b] = numbers(colour).map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let ground = element;
  while (numbers(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(luminance);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


def test_a_phone_needs_no_scrolling_sideways(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    append_run(_full_run(), tmp_path / "runs.jsonl")
    summary_html(read_runs(tmp_path / "runs.jsonl"), tmp_path / "summary.html")
    for file in (page_file, tmp_path / "summary.html"):
        with _opened(browser, file, width=390) as (page, *_):
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") == 390


TABLE = """
| Language | Typing | Year | Paradigm | Creator | Company |
|---|---|---|---|---|---|
| Python | dynamic | 1991 | multi-paradigm | Rossum | Foundation |
| Haskell | static | 1990 | functional | committee | universities |
"""

# Whether a word in a table is on one line: not wider than its cell and not higher than a line.
_BROKEN = """() => [...document.querySelectorAll("th, td")].filter(cell => cell.getClientRects().length).flatMap(cell => {
  const words = [];
  const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());)
    for (const match of node.data.matchAll(/[A-Za-z0-9]+/g)) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      if (new Set([...range.getClientRects()].map(each => Math.round(each.top))).size > 1) words.push(match[0]);
    }
  return words;
})"""


def test_no_word_of_a_table_is_broken_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    run = a_run(a_call(TABLE, name="teacher"), a_call(TABLE, layer=None), answer=TABLE)
    run.to_html(tmp_path / "run.html")
    summary_html([run], tmp_path / "summary.html")
    for name in ("run.html", "summary.html"):
        with _opened(browser, tmp_path / name, width=390) as (page, *_):
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert page.evaluate(_BROKEN) == []
            assert page.evaluate("document.documentElement.scrollWidth") == 390
    with _opened(browser, tmp_path / "run.html", width=390) as (page, *_):
        table = page.locator("#answer .scrolled")
        # Content that is too wide can be scrolled and shows it; what must be visible at a glance fits.
        assert table.evaluate("each => each.scrollWidth > each.clientWidth")
        assert "linear-gradient" in table.evaluate("each => getComputedStyle(each).backgroundImage")
        for fitting in (".totals", ".shares"):
            assert page.locator(f".scrolled:has({fitting})").evaluate("each => each.scrollWidth <= each.clientWidth")


def test_a_mixture_inside_is_on_the_page_with_all_its_calls(browser: Browser, tmp_path: Path) -> None:
    failure = Failure(kind="OpenAIError", message="inside out of order")
    inner = a_run(
        a_call("Bees make wax.", name="deep", prompt=[MessageRecord(type="human", content="What is asked inside?")]),
        a_call("", proposer=2, name="broken", status="failed", error=failure, usage=None),
        a_call("Bees make wax and honey.", layer=None, name="inside"),
        answer="Bees make wax and honey.",
    )
    a_run(a_call(name="mixture", runs=[inner]), a_call(layer=None)).to_html(tmp_path / "run.html")
    with _opened(browser, tmp_path / "run.html") as (page, *_):
        page.locator(".inside > summary").click()
        deep = page.locator("#call-1-1")
        deep.locator("> summary").click()
        assert deep.locator(".said").inner_text() == "Bees make wax."
        deep.locator("summary", has_text="Compare").click()
        assert deep.locator(".pieces ins").all_inner_texts() == ["wax and honey."]
        deep.locator("summary", has_text="Prompt").click()
        assert deep.get_by_role("group", name="Message of the user").inner_text() == "What is asked inside?"
        page.locator("#call-1-2 > summary").click()
        assert page.locator("#call-1-2 .problem").inner_text() == "OpenAIError inside out of order"
        names = page.locator("ol.waterfall summary .name").all_inner_texts()
        assert names == ["mixture", "deep", "broken", "inside", "writer"]


def test_all_that_is_scrolled_by_keyboard_has_a_name(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file) as (page, *_):
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        unnamed = "[...document.querySelectorAll('[tabindex]')].filter(each => !(each.role && each.ariaLabel)).length"
        assert page.locator("[tabindex]").count() > 5
        assert page.evaluate(unnamed) == 0


def test_it_works_without_scripts(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file, java_script_enabled=False) as (page, *_):
        opened = page.locator("#call-5 > .opened")
        assert not opened.is_visible()
        page.locator("#call-5 > summary").click()
        assert opened.is_visible()
        assert not page.get_by_role("button").first.is_visible()


def test_it_works_by_keyboard(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file) as (page, *_):
        reached = []
        for _ in range(8):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.innerText.trim()"))
        assert reached[:7] == ["Skip to the content", "Answer", "Graph", "Calls", "Proposers", "Wording", "Settings"]
        assert reached[7] == "Copy"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#settings"
        # A link to a call opens it.
        page.locator(".graph .box", has_text="broken").focus()
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('#call-4').open")
        assert page.evaluate("document.activeElement.parentElement.id") == "call-4"
        page.keyboard.press("Space")
        assert not page.evaluate("document.querySelector('#call-4').open")


def test_paper_has_everything(browser: Browser, page_file: Path) -> None:
    with _opened(browser, page_file, java_script_enabled=False) as (page, *_):
        page.emulate_media(media="print")
        assert page.locator("#call-5 > .opened").is_visible()
        assert not page.get_by_role("navigation").is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_paper_has_prompts_and_runs_only_if_they_are_open(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    summary_html([_full_run(), a_run()], tmp_path / "summary.html")
    with _opened(browser, page_file) as (page, *_):
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        call = page.locator("#call-5")
        assert call.locator(".main .said").is_visible()
        assert not call.locator("pre").first.is_visible()
        assert page.locator(".copy:visible").count() == 0
    with _opened(browser, tmp_path / "summary.html") as (page, *_):
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert not page.locator("#run-1 > .body").is_visible()


_RECTS = """cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getClientRects().length;
}"""


def test_no_table_is_cut_on_paper(browser: Browser, tmp_path: Path) -> None:
    names = [f"together:vendor-{number}/Model-{number}.{number}-Instruct-Preview" for number in range(6)]
    rows = [{"name": name, "cells": ["0.51"] * 6} for name in names]
    policy = {"chosen": False, "cells": [f"majority of {', '.join(names)}", "71.4", "+10.9", "+7.8", "5.0", "3.9", "1.18"]}
    empty = {"differing": [], "count": 0, "questions": 9, "picture": ""}
    context = {"title": "t", "about": "", "sentences": [], "yaml": "", "command": "", "policies": [policy] * 20, "unfolded": 16}
    html = render("tuning.html.j2", models=names, agreement=rows, correlation=rows, **context, **empty)
    (tmp_path / "report.html").write_text(html.replace('src="data:image/png;base64,"', ""))
    # The width of A4 without its margins.
    with _opened(browser, tmp_path / "report.html", width=680) as (page, *_):
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") == 680
        assert page.locator("#price td", has_text="71.4").first.evaluate(_RECTS) == 1


def test_hostile_texts_do_nothing(browser: Browser, tmp_path: Path) -> None:
    calls = [a_call(text, proposer=place, name=text[:500], model=text[:500]) for place, text in enumerate(HOSTILE, start=1)]
    calls += [
        a_call("", layer=2, proposer=place, status="failed", error={"kind": text[:500], "message": text})
        for place, text in enumerate(HOSTILE, start=1)
    ]
    everything = "\n\n".join(HOSTILE[:-6])
    run = a_run(
        *calls,
        a_call(everything, layer=None),
        answer=everything,
        id=everything,
        outcome={"degraded": [*HOSTILE]},
        config={"prompt": everything},
        mixture={text[:500]: text for text in HOSTILE},
    )
    run.to_html(tmp_path / "run.html")
    summary_html([run], tmp_path / "summary.html")
    for name in ("run.html", "summary.html"):
        with _opened(browser, tmp_path / name, width=390) as (page, *_):
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert page.evaluate("window.hacked") is None
            assert page.locator("a[href]:not([href^='#']), img, iframe, object, embed, base, form, link").count() == 0
            assert page.locator("script").count() == page.locator("style").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            assert page.get_by_role("heading", level=2).count() == (6 if name == "run.html" else 4)


def test_the_summary_draws_its_plots(browser: Browser, tmp_path: Path) -> None:
    runs = [_full_run().model_copy(update={"seconds": number / 3}) for number in range(1, 20)]
    summary_html(runs, tmp_path / "summary.html")
    with _opened(browser, tmp_path / "summary.html", color_scheme="dark") as (page, *_):
        assert page.get_by_role("img").count() == 2
        assert page.get_by_role("img").first.get_attribute("aria-label") == (
            "Seconds to the whole answer: 19 runs, the median is 3.3 s, 95% are at most 6.0 s"
        )
        assert page.locator("rect.column").count() > 5
        assert page.locator("#failures-title + div tbody tr").count() == 2


def test_a_notebook_shows_a_run(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "cell.html").write_text(f"<!doctype html><title>n</title>{_full_run()._repr_html_()}")
    with _opened(browser, tmp_path / "cell.html") as opened:
        frame = opened.page.frame_locator("iframe")
        assert frame.get_by_role("heading", level=1).inner_text() == "What do bees make?"
        # A sandbox says that it runs no script, which is what it is for.
        opened.complaints[:] = [text for text in opened.complaints if "Blocked script execution" not in text]
        opened.requests[:] = [url for url in opened.requests if url != "about:srcdoc"]
