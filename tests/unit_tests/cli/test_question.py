"""The question comes from arguments, from standard input, or from both."""

from __future__ import annotations

import io

import pytest

from langchain_moa.cli.commands.ask import read_question
from langchain_moa.cli.exit_codes import UsageError


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def piped(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data))


def typed(data: bytes) -> io.TextIOWrapper:
    return Terminal(io.BytesIO(data))


@pytest.mark.parametrize(
    ("words", "data", "question"),
    [
        (["Why?"], b"", "Why?"),
        (["Why", "is", "it", "blue?"], b"", "Why is it blue?"),
        ([], b"From the pipe.\n", "From the pipe."),
        (["-"], b"From the pipe.\n", "From the pipe."),
        (["What is wrong?"], b"line 1\nline 2\n", "What is wrong?\n\nline 1\nline 2"),
        (["a", "-", "b"], b"", "a - b"),
        ([], b"\xef\xbb\xbfFrom a file with a byte-order mark", "From a file with a byte-order mark"),
        ([], "Größe\r\nüber alles".encode(), "Größe\r\nüber alles"),
    ],
)
def test_arguments_and_pipe(words: list[str], data: bytes, question: str) -> None:
    assert read_question(words, piped(data)) == question


def test_a_terminal_is_read_only_when_asked_to() -> None:
    assert read_question(["Why?"], typed(b"never read")) == "Why?"
    assert read_question(["-"], typed(b"typed")) == "typed"


def test_a_closed_standard_input_is_none() -> None:
    assert read_question(["Why?"], None) == "Why?"
    with pytest.raises(UsageError, match="there is no question"):
        read_question([], None)


@pytest.mark.parametrize("stdin", [piped(b""), piped(b" \n\t"), typed(b"")])
def test_no_question_says_how_to_ask(stdin: io.TextIOWrapper) -> None:
    with pytest.raises(UsageError, match=r"there is no question; give one \(langchain-moa ask .*\) or pipe one in"):
        read_question([" "], stdin)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match=r"standard input is not UTF-8 text \(byte 2\)"):
        read_question([], piped(b"ab\xff"))
    with pytest.raises(UsageError, match="the question is not UTF-8 text"):
        read_question(["a\udcff"], piped(b""))
