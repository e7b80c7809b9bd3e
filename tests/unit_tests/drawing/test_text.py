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
    ],
)
def test_names_break_between_their_parts(text: str, lines: tuple[str, ...]) -> None:
    assert wrap(text, 11.5, 177) == lines


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("short", "short"),
        ("Qwen3-235B-A22B-Instruct-2507-tput", "Qwen3-235B…Instruct-2507-tput"),
        ("a" * 60, "aaaaaaaaaaaaa…aaaaaaaaaaaaa"),
        ("x" + "-1" * 5000, "x-1-1-1-1-1-1-1…1-1-1-1-1-1-1-1-1"),
    ],
)
def test_the_middle_is_left_out_at_whole_parts_if_there_are_any(text: str, shorter: str) -> None:
    assert elide(text, 11.5, 177) == shorter


@given(st.text(max_size=200), st.floats(20, 400), st.booleans())
def test_what_fits_is_kept_and_what_does_not_is_made_to_fit(text: str, limit: float, bold: bool) -> None:
    line = elide(clean(text), 12, limit, bold=bold)
    assert width(line, 12, bold=bold) <= limit
    assert (line == clean(text)) == (width(clean(text), 12, bold=bold) <= limit)
    lines = wrap(clean(text), 12, limit, bold=bold)
    assert 1 <= len(lines) <= 2
    assert all(width(line, 12, bold=bold) <= limit for line in lines)


def test_wide_letters_and_marks_have_their_width() -> None:
    assert width("模型", 10) == 20
    assert width("e\u0301", 10) == width("e", 10)
    assert width("MW", 10) > width("il", 10)
    assert width("name", 10, bold=True) > width("name", 10)


def test_clean_is_one_line_and_legal() -> None:
    assert clean(" a\n\tb\r\nc ") == "a b c"
    assert clean("a\x00b\u202ec\ud800") == "a\ufffdb\ufffdc\ufffd"
    assert clean(7) == "7"
