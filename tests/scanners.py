"""All patterns and scanners for untrusted text, each with its worst-case texts.

`python -m tests.scanners` checks that the time of each scanner grows linearly with the length of each of its worst-case texts,
and then runs it on a megabyte of the slowest one.
"""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel
from rich.console import Console

from langchain_moa.cli.answer import StreamedMarkdown
from langchain_moa.cli.console import one_line, printable
from langchain_moa.data import credentials
from langchain_moa.data.answer import read_answer
from langchain_moa.data.documents import read_yaml
from langchain_moa.data.redaction import names_secret, redact
from langchain_moa.data.sanitizing import left_out, plain, spelled_out
from langchain_moa.drawing.text import clean
from langchain_moa.filters.duplicates import Duplicates
from langchain_moa.prompting.budget import cut
from langchain_moa.prompting.prompts import hardened
from langchain_moa.runs.page import render
from langchain_moa.runs.sentences import sentences_of
from langchain_moa.runs.wording import bleu, decisive_differences, difference
from langchain_moa.strategies.ballot import Ballot
from langchain_moa.strategies.extract import EXTRACTORS
from langchain_moa.strategies.inquiry import reads_json
from langchain_moa.strategies.layer import ClosedLayer
from langchain_moa.strategies.similarity import LEXICAL, ORDERED, compare, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_moa.data.reference import Reference

MEGABYTE = 1_000_000

# Each worst-case text is measured at both lengths.
SHORT, LONG = MEGABYTE // 100, MEGABYTE // 10

# Between them, linear time grows by 10, and quadratic time by 100. CPU time also varies with the load of the machine.
GROWTH = 35

# In CPU seconds. Scanners that need less for the long text are not compared, because the time is too short to measure.
MEASURABLE = 0.02


class Verdict(BaseModel):
    """A model's reply as JSON."""

    choice: str


def reference(text: str, proposer: int = 1) -> Reference:
    """Return a good reference with a text."""
    return {
        "turn": "1",
        "layer": 1,
        "proposer": proposer,
        "name": "m",
        "model": "m",
        "text": text,
        "status": "ok",
        "error": None,
        "usage": None,
        "seconds": 0.0,
    }


def duplicates(text: str) -> None:
    """Compare two long references by their numbers and negations."""
    half = text[: len(text) // 2]
    layer = ClosedLayer(messages=[], references=[reference(half), reference(f"{half}.", 2)])
    inquiry: Any = Duplicates()(layer)
    next(inquiry)
    try:
        inquiry.send([[1.0, 0.9], [0.9, 1.0]])
    except StopIteration:
        return


def document(text: str) -> None:
    """Read a value of a YAML document."""
    # PyYAML takes a tenth of a millisecond for each token.
    with suppress(ValueError):
        read_yaml(f"a: {text[: len(text) // 5]}1")


def compared(by: str) -> Callable[[str], Any]:
    """Return what compares a text with a longer one."""
    return lambda text: asyncio.run(compare([text, f"x {text} x"], by))


def streamed(text: str) -> None:
    """Stream a text to a terminal whose output is discarded."""
    # The layout takes a millisecond per block, regardless of its content.
    text = text[: len(text) // 20]
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    with StreamedMarkdown(console) as view:
        for place in range(0, len(text), 200):
            view.write(text[place : place + 200])


SCANNERS: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "redact": (
        redact,
        ["sk-", "sk-1", "bearer ", "basic ", "://a:", "://", "api_key=", "token: ", "a.ey", "password", "-", "@"],
    ),
    "names_secret": (names_secret, ["sk-", "hf_a", "eyJ", "://:@"]),
    "printable": (printable, ["\x1b[", "\u200d", "\r"]),
    "one_line": (one_line, [" ", "\n", "\x1b]8;;"]),
    "left_out": (left_out, ["\u202e", "\u200d"]),
    "spelled_out": (spelled_out, ["\u200d", "\ufe0f", "\u180b", "\u202e", "a\u200c"]),
    "plain": (plain, ["<|", "<", "[INST", "\u200d", "\ufe0e\u200d", "</", "<a"]),
    "hardened": (lambda text: hardened([], [reference(text)]), ["[/", "<|", "draft", "</draft>"]),
    "read_answer": (lambda text: read_answer(AIMessage(text)), ["<think>", "</think>", " ", "<thinking>"]),
    "cut": (lambda text: cut(text, 100_000), [". ", "\n", ".", "\u3002"]),
    "json": (reads_json(Verdict), ["[", '{"a":', "```", '"', "\\"]),
    "yaml": (document, ["1:", "9", "x, ", "[", "&a ", "? ", "- "]),
    "ordered": (compared(ORDERED), ["a ", "a b ", "a\n", "=", "\u4e00"]),
    "lexical": (compared(LEXICAL), ["a ", "a b "]),
    "words": (words, ["a", "a ", "\u4e00"]),
    "clean": (clean, ["\u0301", "a ", "\x00"]),
    "label": (Ballot.of([reference("a"), reference("b", 2)]).label_in, ["[[", "[[ ", "[[A", "]]"]),
    "sentences": (sentences_of, ["a. ", "A. ", "Mr. ", "[", "* ", "\n", "U.S. ", "'. "]),
    "differences": (lambda text: decisive_differences(text, f"{text} not"), ["not ", "Anna ", "n't ", "a_", "answer: "]),
    "bleu": (lambda text: bleu(text, f"{text}x"), ["a ", "a'", "a"]),
    "difference": (lambda text: difference(text, f"x {text}"), ["a ", "a\n", " ", "a b\n"]),
    "render": (render, ["[", "* ", "> ", "`", "**", "|a|\n", "![", "<"]),
    "streamed": (streamed, ["* a\n", "[", "`", "> ", "|a|\n"]),
    "duplicates": (duplicates, ["answer: ", "n't ", "1-", "\\frac{", "1,"]),
    **{
        f"extract {name}": (
            find,
            [
                "answer: ",
                "not ",
                "0 ",
                "1,",
                "\\frac{1}{",
                "\\boxed{",
                "\\text{",
                "A, ",
                "```a\n",
                "`",
                "* ",
                ":",
                "\n",
                "`\n",
                "*\n",
            ],
        )
        for name, find in EXTRACTORS.items()
    },
}


def of(piece: str, length: int = MEGABYTE) -> str:
    """Repeat a piece to a length."""
    return (piece * (length // len(piece) + 1))[:length]


PARTS = 4


def seconds(scan: Callable[[str], Any], text: str) -> float:
    """Return the CPU time of a scanner for a text."""
    # Not `process_time`: if the CPU time of the process is limited, it has a resolution of whole ticks only.
    start = time.thread_time()
    scan(text)
    return time.thread_time() - start


def check(scan: Callable[[str], Any], piece: str, *, shorter: int = SHORT, longer: int = LONG) -> float:
    """Check that a scanner's time grows linearly with a text that repeats a piece.

    Args:
        scan: The scanner.
        piece: What the text repeats.
        shorter: The length of the short text.
        longer: That of the long text, 10 times as long.

    Returns:
        The CPU time for the long text.

    Raises:
        AssertionError: The time grows faster than linearly, three times in a row.
    """
    scan(piece)  # patterns are compiled, and modules imported, at the first use
    short = long = float("inf")
    for _ in range(3):
        short = min(short, seconds(scan, of(piece, shorter)))
        long = min(long, seconds(scan, of(piece, longer)))
        if long < max(GROWTH * short, MEASURABLE):
            return long
    message = f"10 times the text takes {long / short:.0f} times the time: {long:.2f} s"
    raise AssertionError(message)


def check_all(name: str, scan: Callable[[str], Any], pieces: Iterable[str]) -> str:
    """Check a scanner with each of its worst-case texts, and return the repeated piece of the slowest one."""
    times: dict[str, float] = {}
    for piece in pieces:
        # The last printed line names the text at which the program stopped.
        print(name, repr(piece), flush=True)
        times[piece] = check(scan, piece)
    return max(times, key=times.__getitem__)


def main(part: int) -> None:
    """Check scanners, and the rules of the list of credentials, with their worst-case texts.

    Args:
        part: The part of them to check, from 0. Parts can run in parallel.
    """
    for name, (scan, pieces) in list(SCANNERS.items())[part::PARTS]:
        slowest = check_all(name, scan, pieces)
        print(name, repr(slowest), "1 MB", flush=True)
        scan(of(slowest))
    for rule in list(credentials._rules())[part::PARTS]:
        endings = ("", "=", "0a-", f"{'A1B2C3D4' * 6} ")
        pieces = [keyword + ending for keyword in rule.keywords for ending in endings]
        check_all(rule.id, lambda text, rule=rule: list(rule.found(text)), pieces)  # type: ignore[misc]


if __name__ == "__main__":
    for number in range(PARTS):
        main(number)
