"""Streamed Markdown ends up the same as if it had been rendered at once, without losing text."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt

from langchain_moa.cli.answer import MarkdownBlock, StreamedMarkdown, is_simple, split_blocks
from tests.unit_tests.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from markdown_it.token import Token

ANSWER = r"""The sky is **blue** because of *scattering*.

## Why

1. Sunlight holds all colours.
2. It goes as \( \lambda^{-4} \) and \[ x_1 \].

   More of the second.
3. So blue is everywhere.

| colour | nm |
|---|---|
| red | 700 |

```python
def f(nm: float) -> float:

    return (700 / nm) ** 4
```

- a list
- of two

> Quoted <b>tags</b> stay, [links](https://example.com/x) show where they lead.
"""


def rendered(text: str) -> list[str]:
    return Screen(width=60).drawn(MarkdownBlock(text, apart=False))


def streamed(pieces: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("rich.live.Live.start", lambda *_, **__: None)  # leaves what stays on the screen
    screen = Screen(width=60, is_terminal=True)
    with StreamedMarkdown(screen.console) as view:
        for piece in pieces:
            view.write(piece)
    return [line.rstrip() for line in screen.text.splitlines() if line.strip()]


@pytest.mark.parametrize("seed", range(5))
def test_pieces_come_to_the_whole(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = sorted(random.Random(seed).sample(range(1, len(ANSWER)), 60))  # noqa: S311  # no secret
    pieces = [ANSWER[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    whole = [line for block in split_blocks(ANSWER) for line in rendered(block) if line]
    assert streamed(pieces, monkeypatch) == whole


ENDLESS = {
    "list": "- item **one**\n",
    "numbers": "1. item\n",
    "loose list": "- item\n\n",
    "code": "    x = 1\n",
    "table": "| a | b |\n|---|---|\n",
    "quote": "> words\n",
    "paragraph": "words and words\n",
    "brackets": "[[\n",
}


@pytest.mark.parametrize("line", ENDLESS.values(), ids=ENDLESS)
def test_the_work_is_linear_in_the_text_however_long_a_block_is(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    parse = MarkdownIt.parse

    def counted(parser: MarkdownIt, text: str, *more: Any) -> list[Token]:
        read.append(len(text))
        return parse(parser, text, *more)

    monkeypatch.setattr(MarkdownIt, "parse", counted)
    screen = Screen(width=60, is_terminal=True)
    with StreamedMarkdown(screen.console) as view:
        for _ in range(1000):
            view.write(line)
            view.refresh()
    # Each redraw reads at most one screen; everything else reads each character a few times.
    assert sum(read) < 10 * 1000 * len(line) + 1000 * 24 * 60
    assert sum(size for size in read if size > 24 * 60) < 10 * 1000 * len(line)


def test_markdown_that_would_take_minutes_is_shown_as_it_is() -> None:
    text = "[a](" * 5000
    assert not is_simple(text)
    assert "".join(rendered(text)) == text
    assert is_simple("*" * 20_000)


def test_nothing_of_an_answer_is_lost() -> None:
    shown = "\n".join(rendered(ANSWER))
    for words in [r"\( \lambda^{-4} \)", r"\[ x_1 \]", "<b>tags</b>", "links (https://example.com/x)", "red", "of two"]:
        assert words in shown


def test_links_are_no_links_for_the_terminal() -> None:
    screen = Screen(is_terminal=True, colors="truecolor")
    screen.console.print(MarkdownBlock("[bank](https://evil.example)", apart=False))
    assert "evil.example" in screen.raw
    assert "\x1b]8" not in screen.raw


def test_one_empty_line_between_blocks() -> None:
    assert [line.strip() for line in rendered("## A heading")] == ["A heading"]
    assert [line.strip() for line in Screen().drawn(MarkdownBlock("## A heading", apart=True))] == ["", "A heading"]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("one paragraph", ["one paragraph"]),
        ("one\n\ntwo", ["one\n\n", "two"]),
        ("1. a\n\n2. b\n", ["1. a\n\n2. b\n"]),
        ("```\na\n\nb\n", ["```\na\n\nb\n"]),
        ("- a\n\nafter", ["- a\n\n", "after"]),
        ("[a]: /address\n\none\n***\n# two", ["[a]: /address\n\none\n", "***\n", "# two"]),
        ("", [""]),
        ("\n\n", ["\n\n"]),
    ],
)
def test_a_text_is_split_into_its_blocks(text: str, blocks: list[str]) -> None:
    assert split_blocks(text) == blocks


def test_what_is_taller_than_the_screen_shows_its_end() -> None:
    screen = Screen(height=8)
    block = "\n".join(f"- item {number}" for number in range(30))
    lines = screen.drawn(MarkdownBlock(block, apart=True, growing=True))
    assert len(lines) < 8
    assert "item 29" in lines[-1]
    assert len(screen.drawn(MarkdownBlock(block, apart=False))) == 30


def test_escape_sequences_do_not_pass() -> None:
    screen = Screen(is_terminal=True)
    with StreamedMarkdown(screen.console) as streamed:
        streamed.write("a \x1b]0;title\x07 b\n")
    assert "a ]0;title b" in screen.text
    assert "\x1b]0" not in screen.raw


def test_no_text_leaves_no_trace() -> None:
    screen = Screen(is_terminal=True)
    with StreamedMarkdown(screen.console) as streamed:
        streamed.write("")
        streamed.write(" \n")
    assert screen.raw == ""
