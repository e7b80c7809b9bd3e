from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.drawing.text import clean, elide, width, wrap


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("openai:gpt-4.1", ("openai:gpt-4.1",)),
        ("together:deepseek-ai/DeepSeek-V3.1", ("together:deepseek-ai/", "DeepSeek-V3.1")),
        ("together:meta-llama/Llama-3.3-70B-Instruct-Turbo", ("together:meta-llama/", "Llama-3.3-70B-Instruct-Turbo")),
        ("Qwen3-235B-A22B-Instruct-2507-tput", ("Qwen3-235B-A22B-", "Instruct-2507-tput")),
        ("a" * 30, ("a" * 27, "aaa")),
    ],
)
def test_names_break_between_their_parts(text: str, lines: tuple[str, ...]) -> None:
    assert wrap(text, 11.5, 177) == lines


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("short", "short"),
        ("Qwen3-235B-A22B-Instruct-2507-tput", "Qwen3-235B-A22…ruct-2507-tput"),
        ("a" * 60, "aaaaaaaaaaaaa…aaaaaaaaaaaaa"),
        ("x" + "-1" * 5000, "x-1-1-1-1-1-1-1-1…-1-1-1-1-1-1-1-1"),
    ],
)
def test_the_middle_is_left_out(text: str, shorter: str) -> None:
    assert elide(text, 11.5, 177) == shorter


@given(st.text(max_size=200), st.floats(20, 400), st.integers(1, 4), st.booleans())
def test_what_fits_is_kept_and_what_does_not_is_made_to_fit(text: str, limit: float, lines: int, bold: bool) -> None:
    content = clean(text)
    line = elide(content, 12, limit, bold=bold)
    assert width(line, 12, bold=bold) <= limit
    assert (line == content) == (width(content, 12, bold=bold) <= limit and len(content) <= 160)
    wrapped = wrap(content, 12, limit, lines=lines, bold=bold)
    assert 1 <= len(wrapped) <= lines
    assert all(width(line, 12, bold=bold) <= limit for line in wrapped)
    if "…" not in wrapped[-1]:
        assert "".join(wrapped).replace(" ", "") == content.replace(" ", "")


def test_wide_letters_and_marks_have_their_width() -> None:
    assert width("模型", 10) == 20
    assert width("e\u0301", 10) == width("e", 10)
    assert width("MW", 10) > width("il", 10)
    assert width("name", 10, bold=True) > width("name", 10)


def test_clean_is_one_line_and_legal() -> None:
    assert clean(" a\n\tb\r\nc ") == "a b c"
    assert clean("a\x00b\u202ec\ud800") == "a\ufffdb\ufffdc\ufffd"
    assert clean(7) == "7"


def test_clean_leaves_no_tower_of_marks() -> None:
    assert clean("e" + "\u0301" * 400) == "e" + "\u0301" * 4
    assert clean("क्षि e\u0301") == "क्षि e\u0301"
