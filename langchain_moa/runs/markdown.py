"""Markdown of untrusted texts as HTML in which nothing runs, nothing loads and nothing leads anywhere."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from langchain_moa.visible import spelled_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup

# A longer text is shown as it is: rendering it would take longer than anyone reads.
LONGEST = 40_000
_MOST_BRACKETS = 1_000


def is_simple(text: str) -> bool:
    """Tell whether a text's Markdown is read in no time; of some, every bracket is looked at for every other one."""
    return len(text) <= LONGEST and text.count("[") <= _MOST_BRACKETS


def parsed(text: str) -> list[Token]:
    """Return the tokens of a text's Markdown.

    Args:
        text: A text that `is_simple`.
    """
    return _renderer().parse(text)


def render(text: str) -> Markup:
    """Return a text's Markdown as HTML.

    HTML in the text is shown, not used. Links and pictures are shown with their address and lead nowhere. Headings are
    paragraphs that look like headings, so that the page's own outline stays the page's.

    Args:
        text: What a model has said.
    """
    from markupsafe import Markup

    if not is_simple(text):
        return Markup('<pre tabindex="0" role="group" aria-label="Text" dir="auto">{}</pre>').format(spelled_out(text))
    # Everything in the result is markdown-it's own, or has been escaped by it or by the rules below.
    return Markup(_renderer().render(spelled_out(text)))  # noqa: S704  # see above


@cache
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Every address is let through to be shown: none becomes a link.
    markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    markdown.validateLink = lambda url: True  # type: ignore[method-assign]  # noqa: ARG005  # meant to be set
    rules: dict[str, Any] = markdown.renderer.rules  # type: ignore[attr-defined]  # the protocol names `render` only
    rules["link_open"] = _link_open
    rules["link_close"] = _link_close
    rules["image"] = _image
    rules["heading_open"] = lambda tokens, place, *_: f'<p class="heading {escape(tokens[place].tag)}">'
    rules["heading_close"] = lambda *_: "</p>\n"
    rules["table_open"] = lambda *_: '<div class="scrolled" tabindex="0" role="group" aria-label="Table"><table>\n'
    rules["table_close"] = lambda *_: "</table></div>\n"
    rules["th_open"] = rules["td_open"] = lambda tokens, place, *_: f"<{escape(tokens[place].tag)}>"
    rules["fence"] = rules["code_block"] = lambda tokens, place, *_: _code(tokens[place])
    return markdown


def _link_open(tokens: Sequence[Token], place: int, *_: Any) -> str:
    address = str(tokens[place].attrGet("href") or "")
    # What is already written out need not be said twice.
    said = place + 1 < len(tokens) and tokens[place + 1].content == address
    tokens[place].meta["shown"] = "" if said else address
    _closing(tokens, place).meta["shown"] = tokens[place].meta["shown"]
    return '<span class="link">'


def _link_close(tokens: Sequence[Token], place: int, *_: Any) -> str:
    address = tokens[place].meta.get("shown", "")
    shown = f' <span class="address">({escape(address)})</span>' if address else ""
    return f"</span>{shown}"


def _closing(tokens: Sequence[Token], place: int) -> Token:
    depth = 0
    for token in tokens[place:]:
        depth += {"link_open": 1, "link_close": -1}.get(token.type, 0)
        if depth == 0:
            return token
    return tokens[place]


def _image(tokens: Sequence[Token], place: int, *_: Any) -> str:
    token = tokens[place]
    address = str(token.attrGet("src") or "")
    return (
        f'<span class="link">[picture: {escape(token.content)}]</span> <span class="address">({escape(address[:200])})</span>'
    )


def _code(token: Token) -> str:
    return f'<pre tabindex="0" role="group" aria-label="Code"><code>{escape(token.content)}</code></pre>\n'
