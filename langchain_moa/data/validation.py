"""Validation of users' input: error messages with the place and the problem, and conversion to plain data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_moa.data.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic import ValidationError

S = TypeVar("S")
T = TypeVar("T")

# Longer values are not quoted in messages, as they may be anything.
_MAX_SHOWN = 24


@contextmanager
def at(place: str) -> Iterator[None]:
    """Prefix the message of a `ValueError` or an `ImportError` with a place.

    Args:
        place: The field, or the item in it.
    """
    try:
        yield
    except ValueError as error:
        msg = f"{place}: {error}"
        raise ValueError(msg) from error
    except ImportError as error:
        msg = f"{place}: {error}"
        raise type(error)(msg, name=error.name, path=error.path) from error


def each(items: Iterable[S], make: Callable[[S], T], *, place: str = "") -> tuple[T, ...]:
    """Convert each item. Error messages are prefixed with the number of the item.

    Args:
        items: The items.
        make: Converts an item.
        place: The text before `item 1`, `item 2`, ...
    """
    made = []
    for number, item in enumerate(items, start=1):
        with at(f"{place}item {number}"):
            made.append(make(item))
    return tuple(made)


def explain(error: ValidationError) -> str:
    """Return a validation error in one line: for each field, its name, the problem, and the value if it is short."""
    return "; ".join(_refused(found) for found in error.errors(include_url=False))


def _refused(found: Any) -> str:
    place = ".".join(str(part) for part in found["loc"])
    if found["type"] == "missing":
        return f"{place} is missing"
    text = found["msg"].removeprefix("Value error, ")
    if found["type"] != "value_error":  # the messages of our own validators are complete
        text = f"{text[0].lower()}{text[1:]}{_shown(found['input'])}"
    return f"{place}: {text}" if place else text


def _shown(value: Any) -> str:
    if not isinstance(value, (str, int, float)) or len(str(value)) > _MAX_SHOWN:
        return ""
    return f", not {redact(repr(value))}"


def plain_data(value: Any) -> Any:
    """Convert the numbers and arrays of NumPy and similar libraries in nested data to Python's own types.

    Args:
        value: Mappings, lists and values. Other objects are returned as they are.
    """
    if isinstance(value, Mapping):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    # Arrays and scalars of all these libraries have this method.
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) and not isinstance(value, type) else value
