"""Every pattern and scanner that text of others passes, each with its worst texts.

`python -m tests.scanners` gives each scanner a megabyte of each of its worst texts. A scanner whose time grows with the square
of the text takes hours for that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel
from rich.console import Console

from langchain_moa.cli.answer import StreamedMarkdown
from langchain_moa.cli.console import one_line, printable
from langchain_moa.data import credentials
from langchain_moa.data.answer import read_answer
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
from langchain_moa.strategies.similarity import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_moa.data.reference import Reference

MEGABYTE = 1_000_000


class Verdict(BaseModel):
    """What a model is asked for as JSON."""

    choice: str


def reference(text: str, proposer: int = 1) -> Reference:
    """A good reference with a text."""
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
    layer = ClosedLayer(messages=[], references=[reference(text), reference(f"{text}.", 2)])
    inquiry: Any = Duplicates()(layer)
    next(inquiry)
    try:
        inquiry.send([[1.0, 0.9], [0.9, 1.0]])
    except StopIteration:
        return


def streamed(text: str) -> None:
    """Show a text as it comes, in a terminal that is thrown away."""
    # Layout takes a millisecond a block, whatever is in it.
    text = text[: MEGABYTE // 20]
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
            ["answer: ", "not ", "0 ", "1,", "\\frac{1}{", "\\boxed{", "\\text{", "A, ", "```a\n", "`", "* "],
        )
        for name, find in EXTRACTORS.items()
    },
}


def of(piece: str, length: int = MEGABYTE) -> str:
    """Repeat a piece to a length."""
    return (piece * (length // len(piece) + 1))[:length]


PARTS = 4


def main(part: int) -> None:
    """Run scanners over their worst texts, and rules of the list of credentials over theirs.

    Args:
        part: Which part of them, from 0: parts can run beside each other.
    """
    for name, (scan, pieces) in list(SCANNERS.items())[part::PARTS]:
        for piece in pieces:
            print(name, repr(piece), flush=True)
            scan(of(piece))
    for rule in list(credentials._rules())[part::PARTS]:
        for keyword in rule.keywords:
            for piece in (keyword, f"{keyword}=", f"{keyword}0a-", f"{keyword}{'A1B2C3D4' * 6} "):
                print(rule.id, repr(piece), flush=True)
                list(rule.found(of(piece, MEGABYTE // 30)))


if __name__ == "__main__":
    for number in range(PARTS):
        main(number)
