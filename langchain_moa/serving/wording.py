"""What is wrong with a field of a request, in a few words of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# By pydantic's names of what it finds; in braces, what it says beside them.
_WORDS = {
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "too_short": "must have at least {min_length}",
    "string_too_short": "must not be empty",
}


def worded(found: Mapping[str, Any]) -> str:
    """Return what pydantic has found in words that go on after the field's name.

    Args:
        found: One of its errors.
    """
    if (words := _WORDS.get(found["type"])) is not None:
        return words.format(**found.get("ctx", {}))
    text: str = found["msg"]
    return f"{text[0].lower()}{text[1:]}"
