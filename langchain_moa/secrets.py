"""Keep keys out of everything that is shown, stored or sent on: errors, references, traces, events."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr

from langchain_moa.reference import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MASK = "**********"

# A name that holds a credential, in configuration and in the environment.
_SECRET_NAME = re.compile(
    r"(api[-_]?key|access[-_]?key|secret|password|credential|(access|auth|bearer)_?token|(\b|[-_])token|authorization)$",
    re.IGNORECASE,
)

# What nothing but a credential looks like; the looser pattern below would take prose for one.
_SECRET_VALUE = re.compile(
    r"\b(sk|pk|tgp|gsk|xai|lsv2)[-_](?=[\w-]*\d)[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}|(?i:\bbearer)\s+(?=\S*\d)\S{16,}"
)

_SECRET_TEXT = re.compile(
    r"(?i)\b(bearer\s+)\S+|\b(sk|pk|tgp|gsk|xai|hf|lsv2)[-_][\w-]{8,}|((?:api[_-]?key|token)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]{8,}"
)

# Shorter values are no keys, and masking them would garble the text around.
_MIN_LENGTH = 8


def is_secret_name(name: str) -> bool:
    """Tell whether a setting of this name holds a credential."""
    return _SECRET_NAME.search(name) is not None


def names_secret(value: Any, name: str = "") -> str | None:
    """Return the first key, at any depth, that holds a credential by its name or by the look of its value.

    Args:
        value: What a configuration file holds: mappings, lists, texts, numbers.
        name: The key that `value` stands under.

    Returns:
        The key; `None` if there is no credential.
    """
    found: Iterator[str | None] = iter(())
    if isinstance(value, Mapping):
        found = (str(key) if is_secret_name(str(key)) else names_secret(item, str(key)) for key, item in value.items())
    elif isinstance(value, list):
        found = (names_secret(item, name) for item in value)
    elif isinstance(value, str) and _SECRET_VALUE.search(value):
        return name
    return next((key for key in found if key is not None), None)


def masked(value: Any) -> Any:
    """Return settings with every credential in them masked, at any depth."""
    if isinstance(value, Mapping):
        return {key: _MASK if is_secret_name(str(key)) else masked(item) for key, item in value.items()}
    return [masked(item) for item in value] if isinstance(value, list) else value


def secrets_of(model: object) -> tuple[str, ...]:
    """Return the values of a model's secret fields, and of what has a secret's name in its mappings (`default_headers`)."""
    if not isinstance(model, BaseModel):
        return ()
    fields = list(model.__dict__.values())
    texts = [value.get_secret_value() for value in fields if isinstance(value, SecretStr)]
    mappings = [value for value in fields if isinstance(value, Mapping)]
    texts += [item for each in mappings for name, item in each.items() if is_secret_name(str(name)) and isinstance(item, str)]
    return tuple(text for text in texts if text)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask credentials in a text.

    Args:
        text: Any text, a provider's error for example.
        secrets: Values known to be secret, beside those of the environment.

    Returns:
        The text with `**********` wherever a known value, or something of a key's shape, stood.
    """
    for value in known_secrets(secrets):
        text = text.replace(value, _MASK)
    return _SECRET_TEXT.sub(lambda match: f"{match[1] or match[3] or ''}{_MASK}", text)


def conceal(text: str, known: Iterable[str]) -> str:
    """Mask credentials in what people and models have written, where looser rules would take prose and code for some.

    Args:
        text: Any text.
        known: What `known_secrets` has returned.

    Returns:
        The text with `**********` wherever a known value, or what looks like nothing but a key, stood.
    """
    for value in known:
        text = text.replace(value, _MASK)
    return _SECRET_VALUE.sub(_MASK, text)


def known_secrets(secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the values of the environment's secrets and of others, the longest first.

    Args:
        secrets: The others.
    """
    environment = (value for name, value in os.environ.items() if is_secret_name(name))
    known = {value for value in (*secrets, *environment) if len(value) >= _MIN_LENGTH}
    return tuple(sorted(known, key=len, reverse=True))


def describe(error: BaseException, secrets: Iterable[str] = ()) -> Failure:
    """Return an exception as plain data: its type's name and its text without secrets."""
    return Failure(kind=type(error).__name__, message=redact(str(error), secrets) or "no message")
