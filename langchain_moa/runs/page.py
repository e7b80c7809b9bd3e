"""Pages: HTML files that need nothing else, load nothing, and run nothing that a model wrote.

`page` fills a template that extends `base.html.j2`, with the one stylesheet and the one script that all pages share. Whatever a
template shows passes `spelled_out` and is escaped. `render` turns untrusted Markdown into HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.data.sanitizing import spelled_out
from langchain_moa.runs import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup

LONGEST = 40_000
"""The longest text that is rendered as Markdown, in characters. A longer one is shown as it is."""

_FOLDER = Path(__file__).parent / "templates"

# Some Markdown takes time that grows with the square of its brackets.
_MOST_BRACKETS = 1_000


def page(template: str, *, folder: Path | None = None, images: bool = False, **context: Any) -> str:
    """Return a page that loads nothing from anywhere.

    Its Content Security Policy allows its own style and script, by their hashes, and nothing else.

    Args:
        template: The name of the template. It extends `base.html.j2`.
        folder: A folder with templates of your own. Default: those of this package only.
        images: Whether the page holds images as `data:` addresses. Default: False.
        **context: The template's variables.

    Raises:
        ImportError: The extra `report` is not installed.
    """
    from markupsafe import Markup

    css, js = _file("page.css"), _file("page.js")
    rules = [
        "default-src 'none'",
        f"style-src '{_hash(css)}'",
        f"script-src '{_hash(js)}'",
        *(["img-src data:"] if images else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    # Both are files of this package.
    own = {"css": Markup(css), "js": Markup(js)}  # noqa: S704
    return _environment(folder).get_template(template).render(**own, policy="; ".join(rules), **context)


def framed(page: str) -> str:
    """Return a page in a sandboxed frame, for a notebook: neither has an effect on the other."""
    style = "width:100%;height:640px;border:1px solid #8884;border-radius:8px"
    return f'<iframe sandbox title="Run of a mixture of agents" style="{style}" srcdoc="{escape(page)}"></iframe>'


def is_simple(text: str) -> bool:
    """Tell whether a text is short and simple enough to be parsed as Markdown."""
    return len(text) <= LONGEST and text.count("[") <= _MOST_BRACKETS


def parsed(text: str) -> list[Token]:
    """Return the tokens of a text's Markdown.

    Args:
        text: A text that `is_simple`.
    """
    return _renderer().parse(text)


@lru_cache(maxsize=64)  # a page shows most texts twice
def render(text: str) -> Markup:
    """Return a text's Markdown as HTML in which nothing runs, nothing loads and nothing is a link.

    HTML in the text is shown, not used. Links and images are shown with their address. Headings are paragraphs that look like
    headings, so that the outline of the page stays its own.

    Args:
        text: What a model wrote.
    """
    from markupsafe import Markup

    if not is_simple(text):
        return Markup('<pre tabindex="0" role="group" aria-label="Text" dir="auto">{}</pre>').format(spelled_out(text))
    # Everything in the result is markdown-it's own, or was escaped by it or by the rules below.
    return Markup(_renderer().render(spelled_out(text)))  # noqa: S704


@cache
def _environment(folder: Path | None) -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise _missing(error) from error

    environment = Environment(
        loader=FileSystemLoader([*([folder] if folder else []), _FOLDER]),
        autoescape=True,
        # The one way of every text into a page; what is markup already has been made here.
        finalize=lambda value: spelled_out(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["longest"] = LONGEST
    environment.filters |= {
        "markdown": render,
        "pretty": _pretty,
        **{name: getattr(figures, name) for name in ("seconds", "dollars", "count", "counted", "percent")},
    }
    return environment


@cache
def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _missing(error: ImportError) -> ImportError:
    msg = f'pages need the package {error.name}: pip install "langchain-moa[report]"'
    return type(error)(msg, name=error.name)


@cache
def _renderer() -> MarkdownIt:
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise _missing(error) from error

    # Every address is accepted, because it is only shown: none becomes a link.
    markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    markdown.validateLink = lambda url: True  # type: ignore[method-assign]  # noqa: ARG005  # documented to be replaced
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
    # A link whose text is its address shows it once.
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
    return f'<span class="link">[image: {escape(token.content)}]</span> <span class="address">({escape(address[:200])})</span>'


def _code(token: Token) -> str:
    return f'<pre tabindex="0" role="group" aria-label="Code"><code>{escape(token.content)}</code></pre>\n'
