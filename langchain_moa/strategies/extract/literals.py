"""Literals and choices: answers that are Python or JSON values, and answers of a few words."""

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

# Longer texts are not short answers, and would be slow to parse.
_LONGEST = 10_000
_LONGEST_CHOICE = 200


def literal(text: str) -> str | None:
    """Return the Python or JSON literal that a text gives as its answer, normalized so that equal values are equal strings.

    The literal is the whole text, or otherwise the last code block, the last text in backticks, the text after "the answer
    is", or the last line. `[1, 2]`, `[1,2]` and `[1.0, 2]` are the same value, and so are `'a'` and `"a"`. A short line that
    is not a literal is read as a string without quotes: `a` is `'a'`.
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
    """Return the last line of a text as a short answer, in lower case and without surrounding spaces and punctuation.

    A leading "the answer is" is removed. A long last line is not a short answer.
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
            warnings.simplefilter("ignore")  # from a text that only looks like code
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
