"""Markdown of untrusted texts is rendered and sanitized."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa.runs.page import LONGEST, render
from langchain_moa.runs.sentences import sentences_of

TAGS = {
    *("p", "em", "strong", "s", "code", "pre", "ul", "ol", "li", "blockquote", "hr", "br", "span", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"class", "tabindex", "role", "aria-label", "dir", "start"}


def _check(html: str) -> None:
    for name, attributes in re.findall(r"<\s*/?\s*([^\s/>]+)([^>]*)>", html):
        assert name in TAGS
        for attribute in re.findall(r"([\w-]+)\s*=", re.sub(r'"[^"]*"', '""', attributes)):
            assert attribute in ATTRIBUTES


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](data:text/html;base64,PHNjcmlwdD4=)",
        "![a](https://example.com/a.png)",
        '![a"onload="x](https://example.com/a.png "t")',
        "<https://example.com>",
        "[x]: https://example.com\n[x]",
        '```html"><script>\n</script>\n```',
        "# <svg onload=alert(1)>",
        "</style></script><!--",
        "|a|\n|-|\n|<b>|",
        "&lt;script&gt; &#x3c;script>",
    ],
)
def test_nothing_in_a_text_becomes_markup_of_its_own(text: str) -> None:
    html = str(render(text))
    _check(html)
    assert "href" not in html
    assert "src=" not in re.sub(r"&lt;.*?&gt;", "", html)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("<>[]()!`*_#|-\"'\\&;: \nascriptjhref=/\u202e\u200b"), max_size=60))
def test_whatever_the_text_only_known_tags_come_out(text: str) -> None:
    _check(str(render(text)))


def test_markdown_is_rendered() -> None:
    html = str(render("# Why\n\nIt is **so**, see [here](https://a.example/b).\n\n- one\n\n|a|b|\n|-|-|\n|1|2|\n\n`x < y`"))
    assert '<p class="heading h1">Why</p>' in html
    assert "<strong>so</strong>" in html
    assert '<span class="link">here</span> <span class="address">(https://a.example/b)</span>' in html
    assert "<li>one</li>" in html
    assert "<td>1</td>" in html
    assert "<code>x &lt; y</code>" in html
    assert "(https" not in str(render("<https://a.example>"))


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert "<p>a[U+202E]b[U+2028]c</p>" in str(render("a\u202eb\u2028c"))


@pytest.mark.parametrize("text", ["[" * 20_000, "![](" * 9_000])
def test_a_text_of_nothing_but_brackets_is_shown_as_it_is(text: str) -> None:
    assert text in str(render(text))
    assert len(sentences_of(f"It is so. {text}")) <= 2


def test_a_huge_text_is_shown_as_it_is() -> None:
    text = "**<b>**" * LONGEST
    html = str(render(text))
    assert re.match(r"<pre [^>]*>\*\*&lt;b&gt;\*\*", html)
    assert "<strong>" not in html
