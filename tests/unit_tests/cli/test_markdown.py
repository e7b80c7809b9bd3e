"""Markdown that streams in ends up as if it had been rendered whole, with nothing of it lost."""

from __future__ import annotations

import random

import pytest

from langchain_moa.cli.markdown import StreamedMarkdown, _Block, _split
from tests.unit_tests.cli.screen import Screen

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
    return Screen(width=60).drawn(_Block(text, apart=False))


@pytest.mark.parametrize("seed", range(5))
def test_pieces_come_to_the_whole(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.live.Live.start", lambda *_: None)  # leaves what stays on the screen
    cuts = sorted(random.Random(seed).sample(range(1, len(ANSWER)), 60))  # noqa: S311  # no secret
    screen = Screen(width=60, is_terminal=True)
    with StreamedMarkdown(screen.console) as streamed:
        for start, end in zip([0, *cuts], [*cuts, None], strict=True):
            streamed.write(ANSWER[start:end])
    shown = [line.rstrip() for line in screen.text.splitlines()]
    assert [line for line in shown if line] == [line for line in rendered(ANSWER) if line]


def test_nothing_of_an_answer_is_lost() -> None:
    shown = "\n".join(rendered(ANSWER))
    for words in [r"\( \lambda^{-4} \)", r"\[ x_1 \]", "<b>tags</b>", "links (https://example.com/x)", "red", "of two"]:
        assert words in shown


def test_links_are_no_links_for_the_terminal() -> None:
    screen = Screen(is_terminal=True, colors="truecolor")
    screen.console.print(_Block("[bank](https://evil.example)", apart=False))
    assert "evil.example" in screen.raw
    assert "\x1b]8" not in screen.raw


def test_one_empty_line_between_blocks() -> None:
    assert [line.strip() for line in rendered("## A heading")] == ["A heading"]
    assert [line.strip() for line in Screen().drawn(_Block("## A heading", apart=True))] == ["", "A heading"]


@pytest.mark.parametrize(
    ("text", "done", "still_open"),
    [
        ("one paragraph", "", "one paragraph"),
        ("one\n\ntwo", "one\n\n", "two"),
        ("1. a\n\n2. b\n", "", "1. a\n\n2. b\n"),
        ("```\na\n\nb\n", "", "```\na\n\nb\n"),
        ("- a\n\nafter", "- a\n\n", "after"),
        ("", "", ""),
    ],
)
def test_only_the_last_block_is_open(text: str, done: str, still_open: str) -> None:
    assert _split(text) == (done, still_open)


def test_what_is_taller_than_the_screen_shows_its_end() -> None:
    screen = Screen(height=8)
    block = "\n".join(f"- item {number}" for number in range(30))
    lines = screen.drawn(_Block(block, apart=True, growing=True))
    assert len(lines) < 8
    assert "item 29" in lines[-1]
    assert len(screen.drawn(_Block(block, apart=False))) == 30


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
