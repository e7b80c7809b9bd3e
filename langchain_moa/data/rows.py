"""Files of rows, such as questions and recorded answers. Errors name the line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")

_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


class RowError(ValueError):
    """A file is not what it should be; the text has its name, the line and what is wrong."""


@dataclass(frozen=True)
class Row:
    """One object of a file.

    Attributes:
        source: The file.
        line: The line in which it begins, from 1.
        data: What it holds.
        unit: What `line` counts: `line`, or `item` where a line holds several rows.
    """

    source: str
    line: int
    data: Mapping[str, Any]
    unit: str = "line"

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return f"{self.source}, {self.unit} {self.line}"

    def get(self, name: str, kind: type[T]) -> T:
        """Return a field that has to be there.

        Args:
            name: The field.
            kind: What it has to be: `str`, `int`, `list` or `dict`.

        Raises:
            RowError: It is missing, or something else.
        """
        if name not in self.data:
            self.refuse(f"the field {name!r} is missing; there are {', '.join(map(repr, self.data)) or 'none'}")
        value = self.data[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(f"the field {name!r} is {type(value).__name__}, and has to be {_KINDS[kind]}")
        return value

    def text(self, name: str) -> str:
        """Return a field that has to be there and say something that can be sent to a model.

        Args:
            name: The field.

        Raises:
            RowError: It is missing, no text, empty, or holds half a character.
        """
        value = self.get(name, str)
        if not value.strip():
            self.refuse(f"the field {name!r} is empty")
        self.require_whole(value, f"the field {name!r}")
        return value

    def require_whole(self, text: str, what: str) -> None:
        r"""Refuse a text that no client could send: JSON may hold half a character, such as `\ud83d` alone.

        Args:
            text: The text.
            what: What it is, in words.

        Raises:
            RowError: It holds half a character.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start].encode("ascii", "backslashreplace").decode()
            self.refuse(
                f"{what} holds half a character, {half}, which cannot be sent to a model; write it whole or leave it out"
            )

    def refuse(self, problem: str) -> NoReturn:
        """Say what is wrong, and where.

        Args:
            problem: What is wrong.

        Raises:
            RowError: Always.
        """
        msg = f"{self.place}: {problem}"
        raise RowError(msg)


def read_rows(path: str | Path) -> list[Row]:
    """Read a file that holds one JSON object a line, or one JSON list of objects.

    Args:
        path: The file; `.json` or `.jsonl`, told apart by what it holds.

    Raises:
        RowError: It cannot be read, is not JSON, or holds something else than objects, or none.

    Example:
        ```python
        from langchain_moa.data.rows import read_rows

        with open("questions.jsonl", "w") as file:
            file.write('{"question": "1 + 1?", "answer": 2}')
        for row in read_rows("questions.jsonl"):
            print(row.place, row.text("question"), row.data["answer"])
        ```
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}"
        raise RowError(msg) from error
    rows = []
    for line, value in _items(text, path) if text.lstrip().startswith("[") else _lines(text, path):
        if not isinstance(value, dict):
            msg = f"{path}, line {line}: it is {type(value).__name__}, and has to be an object"
            raise RowError(msg)
        rows.append(Row(str(path), line, value))
    if not rows:
        msg = f"{path} holds no rows"
        raise RowError(msg)
    return rows


def parse_line(text: str, path: str | Path, line: int) -> Any:
    """Return the JSON value of a line.

    Args:
        text: The line.
        path: Its file.
        line: Its number.

    Raises:
        RowError: It is not JSON, or more than can be read.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, path, line) from error


def _not_json(error: ValueError | RecursionError, path: str | Path, line: int) -> RowError:
    match error:
        case json.JSONDecodeError():
            problem = f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
        case RecursionError():
            problem = "its lists and objects are nested too deeply"
        case _:
            problem = "a number has too many digits; write it as a text"
    return RowError(f"{path}, line {line}: {problem}")


def _lines(text: str, path: str | Path) -> Iterator[tuple[int, Any]]:
    # Not `splitlines`: a text may hold a line separator of Unicode's, which JSON leaves as it is.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, parse_line(line, path, number)


def _items(text: str, path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield the items of a list, each with the line that it begins in, which `json.loads` would not tell."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line, counted = 1, 0
    while True:
        at = _past_space(text, at)
        if text[at : at + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(error, path, getattr(error, "lineno", line)) from error
        yield line, value
        at = _past_space(text, at)
        if text[at : at + 1] not in {",", "]"}:
            msg = f"{path}, line {text.count(chr(10), 0, at) + 1}: not JSON: a comma or the list's end is missing"
            raise RowError(msg)
        at += text[at] == ","


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
