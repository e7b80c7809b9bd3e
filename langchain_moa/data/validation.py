"""Errors of what users write: each says where, what, and what to do."""

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

# A longer text is no mistyped number or flag, and may be anything.
_MAX_SHOWN = 24


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put a place in front of the text of a ValueError, or of an ImportError, which keeps its type.

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
    """Make something of every item; an error says which item it is about.

    Args:
        items: The items.
        make: What makes one.
        place: The text in front of `item 1`, `item 2`, ...
    """
    made = []
    for number, item in enumerate(items, start=1):
        with at(f"{place}item {number}"):
            made.append(make(item))
    return tuple(made)


def explain(error: ValidationError) -> str:
    """Return what pydantic refused: each field's name, what is wrong, and the value where it is a short one."""
    return "; ".join(_refused(found) for found in error.errors(include_url=False))


def _refused(found: Any) -> str:
    place = ".".join(str(part) for part in found["loc"])
    if found["type"] == "missing":
        return f"{place} is missing"
    text = found["msg"].removeprefix("Value error, ")
    if found["type"] != "value_error":  # ours say what must be said of the value
        text = f"{text[0].lower()}{text[1:]}{_shown(found['input'])}"
    return f"{place}: {text}" if place else text


def _shown(value: Any) -> str:
    if not isinstance(value, (str, int, float)) or len(str(value)) > _MAX_SHOWN:
        return ""
    return f", not {redact(repr(value))}"


def plain_data(value: Any) -> Any:
    """Return data with every number and array of numpy's, or of a library like it, as Python's own.

    Args:
        value: Mappings, lists, numbers, texts; anything else is left as it is.
    """
    if isinstance(value, Mapping):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    # What arrays and their numbers have in common, in all of these libraries.
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) and not isinstance(value, type) else value
