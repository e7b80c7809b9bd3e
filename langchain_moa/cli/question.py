"""The question: from the command's arguments, from standard input, or from both."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from langchain_moa.cli.console import is_terminal
from langchain_moa.cli.failing import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STDIN = "-"


def read_question(words: Sequence[str], stdin: TextIO | None) -> str:
    """Return the question that the user asks.

    Text that is piped in follows the question after a blank line, as in `cat app.log | langchain-moa ask "What is wrong?"`.

    Args:
        words: The command's arguments; `-` alone is standard input, a terminal too.
        stdin: Standard input; `None` where it is closed.

    Raises:
        UsageError: There is no question, or it is not text.
    """
    given = " ".join(words).strip()
    piped = ""
    if given == _STDIN or not is_terminal(stdin):
        piped = _read(stdin)
    question = "\n\n".join(part for part in (given if given != _STDIN else "", piped) if part)
    if not question:
        msg = 'there is no question; give one (langchain-moa ask "Why is the sky blue?") or pipe one in'
        raise UsageError(msg)
    try:
        question.encode()
    except UnicodeEncodeError as error:
        # Python carries bytes of the command line that are no UTF-8 as surrogates, which no model can be sent.
        msg = "the question is not UTF-8 text"
        raise UsageError(msg) from error
    return question


def _read(stdin: TextIO | None) -> str:
    if stdin is None or stdin.closed:
        return ""
    try:
        # Files that come from Windows begin with a byte-order mark.
        return stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        msg = f"standard input is not UTF-8 text (byte {error.start}); pipe text in, or close it with </dev/null"
        raise UsageError(msg) from error
