"""JSON, JSON Lines and CSV files of rows, such as questions and recorded answers. Errors name the file and line."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")

# In characters. Python's default limit of 128 Ki is too short for long prompts.
_LONGEST_FIELD = 2**31 - 1

_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


class RowError(ValueError):
    """A file of rows is invalid. The message has the file, the line and the problem."""


@dataclass(frozen=True)
class Row:
    """One object of a file.

    Attributes:
        source: The name of the file.
        line: The number of the line on which the object begins, from 1.
        data: The object.
        unit: What `line` counts: `line`, or `item` if a line holds several rows.
    """

    source: str
    line: int
    data: Mapping[str, Any]
    unit: str = "line"

    @property
    def place(self) -> str:
        """The file and line, for messages."""
        return f"{self.source}, {self.unit} {self.line}"

    def get(self, name: str, kind: type[T]) -> T:
        """Return a required field.

        Args:
            name: The name of the field.
            kind: The required type: `str`, `int`, `list` or `dict`.

        Raises:
            RowError: The field is missing or has another type.
        """
        if name not in self.data:
            self.refuse(f"the field {name!r} is missing; there are {', '.join(map(repr, self.data)) or 'none'}")
        value = self.data[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(f"the field {name!r} is {type(value).__name__}; it must be {_KINDS[kind]}")
        return value

    def text(self, name: str) -> str:
        """Return a required, non-empty string that can be sent to a model.

        Args:
            name: The name of the field.

        Raises:
            RowError: The field is missing, not a string, blank, or has a lone surrogate.
        """
        value = self.get(name, str)
        if not value.strip():
            self.refuse(f"the field {name!r} is empty")
        self.require_whole(value, f"the field {name!r}")
        return value

    def require_whole(self, text: str, what: str) -> None:
        r"""Raise an error if a text has a lone surrogate, such as `\ud83d`, which JSON allows but clients cannot send.

        Args:
            text: The text.
            what: The description of the text in the message.

        Raises:
            RowError: The text has a lone surrogate.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start].encode("ascii", "backslashreplace").decode()
            self.refuse(f"{what} has an incomplete character, {half}, which cannot be sent to a model; correct or remove it")

    def refuse(self, problem: str) -> NoReturn:
        """Raise an error for this row.

        Args:
            problem: The description of the problem.

        Raises:
            RowError: Always.
        """
        msg = f"{self.place}: {problem}"
        raise RowError(msg)


def read_rows(path: str | Path) -> list[Row]:
    """Read a file of JSON objects: one per line, or a single JSON list of objects.

    Args:
        path: The file. Its content, not its suffix, decides how it is read.

    Raises:
        RowError: The file cannot be read, is not JSON, has a value other than an object, or is empty.

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
        raise unreadable(path, error) from error
    rows = []
    for line, value in _items(text, path) if text.lstrip().startswith("[") else _lines(text, path):
        if not isinstance(value, dict):
            msg = f"{path}, line {line}: it is {type(value).__name__}; it must be an object"
            raise RowError(msg)
        rows.append(Row(str(path), line, value))
    if not rows:
        msg = f"{path} has no rows"
        raise RowError(msg)
    return rows


def csv_rows(path: Path) -> Iterator[Row]:
    """Read a CSV file with a header. The line number of a row is that of its last line.

    Args:
        path: The file.

    Raises:
        RowError: The file cannot be read, its columns are not separated by commas, or two columns have the same name.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    last = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Strict: a quotation mark that is not closed would take all lines after it for one field.
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames or ()
            last = reader.line_num
            if len(names) == 1 and (separator := next((each for each in ";\t" if each in names[0]), None)):
                msg = f"{path}, line 1: its columns are separated by {separator!r}; separate them by commas"
                raise RowError(msg)
            if repeated := next((name for number, name in enumerate(names) if name in names[:number]), None):
                msg = f"{path}, line 1: two columns are named {repeated!r}; give each column its own name"
                raise RowError(msg)
            for fields in reader:
                last = reader.line_num
                row = Row(str(path), last, {name: value for name, value in fields.items() if value is not None})
                if None in fields:
                    row.refuse(
                        "it has more fields than the first line names; put a field that contains a comma in quotation marks"
                    )
                yield row
    except csv.Error as error:
        msg = f"{path}, line {last + 1}: not CSV: {error}; a quotation mark may be missing or misplaced"
        raise RowError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def unreadable(path: str | Path, error: OSError | UnicodeDecodeError) -> RowError:
    """Return the error for a file that cannot be read, with the reason."""
    return RowError(
        f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8; save it as UTF-8'}"
    )


def parse_line(text: str, path: str | Path, line: int) -> Any:
    """Return the JSON value of a line.

    Args:
        text: The line.
        path: The file, for the error.
        line: The number of the line, for the error.

    Raises:
        RowError: The line is not JSON, is nested too deeply, or holds a number with too many digits.
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
    # Not `splitlines`, which also splits at Unicode's line separators inside JSON strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, parse_line(line, path, number)


def _items(text: str, path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield the items of a list, each with the number of its first line, which `json.loads` does not provide."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line, counted = 1, 0
    while True:
        at = _past_space(text, at)
        if text[at : at + 1] == "]":
            break
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
    if (rest := _past_space(text, at + 1)) < len(text):
        msg = f"{path}, line {text.count(chr(10), 0, rest) + 1}: not JSON: there is more after the list's end"
        raise RowError(msg)


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
