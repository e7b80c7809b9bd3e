"""Literals and choices: answers that are values of Python or JSON, and answers that are a few words."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
import warnings
from typing import Any

_FENCED = re.compile(r"```[^\n`]*\n([^`]*)```")
_QUOTED = re.compile(r"`([^`\n]+)`")
_SAID = re.compile(r"(?i:\b(?:answer|output|result|value)\b[^\n:=]{0,40}?(?:\bis\b|[:=])|==)\s*")

# Longer ones are no short answers, and would take the parser long.
_LONGEST = 10_000
_LONGEST_CHOICE = 200


def literal(text: str) -> str | None:
    """Return the literal of Python or JSON that a text gives as its answer, in one form: equal values are equal texts.

    It is the whole text, or what stands last in a code block, between backticks, behind "the answer is", or on the last line.
    `[1, 2]`, `[1,2]` and `[1.0, 2]` are one value, and so are `'a'` and `"a"`. A short line that is no literal is a text
    without its quotes: `a` is `'a'`.
    """
    text = text.strip()
    lines = text.splitlines()
    last = lines[-1].strip() if lines else ""
    places = [text, *_FENCED.findall(text)[-1:], *_QUOTED.findall(text)[-1:]]
    if said := list(_SAID.finditer(last)):
        places.append(last[said[-1].end() :])
    for place in [*places, last]:
        for candidate in (place.strip(), place.strip().rstrip(".")):
            found, value = _parsed(candidate)
            if found:
                return _canonical(value)
    return repr(text) if text and len(lines) == 1 and len(text) <= _LONGEST_CHOICE else None


def choice(text: str) -> str | None:
    """Return a short answer in words without case, spaces and punctuation around it: the text, or its last line.

    "The answer is" in front is left out. A long last line is no short answer.
    """
    lines = [line for line in unicodedata.normalize("NFKC", text).splitlines() if line.strip()]
    if not lines:
        return None
    last = lines[-1]
    if said := list(_SAID.finditer(last)):
        last = last[said[-1].end() :] or last
    words = " ".join(last.casefold().split()).strip(" .,;:!?\"'`*_()[]{}")
    return words if words and len(words) <= _LONGEST_CHOICE else None


def _parsed(text: str) -> tuple[bool, Any]:
    if not text or len(text) > _LONGEST:
        return False, None
    try:
        return True, json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a text that merely looks like code
            return True, ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False, None


def _canonical(value: Any) -> str:
    match value:
        case bool():
            form = repr(value)
        case float():
            form = repr(int(value)) if value.is_integer() else repr(value)
        case list():
            form = f"[{', '.join(map(_canonical, value))}]"
        case tuple():
            form = f"({', '.join(map(_canonical, value))},)"
        case set():
            form = f"{{{', '.join(sorted(map(_canonical, value)))}}}"
        case dict():
            form = f"{{{', '.join(sorted(f'{_canonical(key)}: {_canonical(each)}' for key, each in value.items()))}}}"
        case _:
            form = repr(value)
    return form
