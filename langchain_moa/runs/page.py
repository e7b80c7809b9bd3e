"""Self-contained HTML pages, which load nothing and execute nothing that a model wrote.

`page` renders a template that extends `base.html.j2`, with the stylesheet and the script that all pages share. All values in a
template pass `spelled_out` and are escaped. `render` converts untrusted Markdown to HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.data import figures
from langchain_moa.data.sanitizing import spelled_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup

LONGEST = 40_000
"""The maximum length of a text that is rendered as Markdown, in characters. Longer texts are shown as plain text."""

_FOLDER = Path(__file__).parent / "templates"

# Parsing time may grow with the square of the number of brackets.
_MOST_BRACKETS = 1_000


def page(template: str, *, folder: Path | None = None, images: bool = False, **context: Any) -> str:
    """Render a self-contained page.

    Its Content Security Policy allows only its own style and script, by their hashes.

    Args:
        template: The name of the template, which extends `base.html.j2`.
        folder: A folder with additional templates. Default: none.
        images: Whether to allow images with `data:` URLs. Default: False.
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
    """Return a page in a sandboxed frame, so that it and the notebook that shows it do not affect each other."""
    style = "width:100%;height:640px;border:1px solid #8884;border-radius:8px"
    return f'<iframe sandbox title="Run of a mixture of agents" style="{style}" srcdoc="{escape(page)}"></iframe>'


def is_simple(text: str) -> bool:
    """Return whether a text is short and simple enough to be parsed as Markdown."""
    return len(text) <= LONGEST and text.count("[") <= _MOST_BRACKETS


def parsed(text: str) -> list[Token]:
    """Return the tokens of a text's Markdown.

    Args:
        text: A text for which `is_simple` is true.
    """
    return _renderer().parse(text)


@lru_cache(maxsize=64)  # pages show most texts twice
def render(text: str) -> Markup:
    """Convert untrusted Markdown to HTML without scripts, external resources and links.

    HTML in the text is shown as text. Links and images are shown with their URLs. Headings become paragraphs that look like
    headings, so that they do not change the outline of the page.

    Args:
        text: The Markdown.
    """
    from markupsafe import Markup

    if not is_simple(text):
        return Markup('<pre tabindex="0" role="group" aria-label="Text" dir="auto">{}</pre>').format(spelled_out(text))
    # markdown-it or the rules below generated or escaped everything in the result.
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
        # All strings pass this function. `Markup` objects come only from this module.
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

    # Accept every URL, because URLs are only shown and never become links.
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
    # Show the URL only once if it is the text of the link.
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
