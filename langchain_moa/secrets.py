"""Keep keys out of everything that is shown, stored or sent on: errors, references, traces, events."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pydantic import SecretStr

from langchain_moa.inside import parts_of
from langchain_moa.reference import Failure
from langchain_moa.resilience.deadline import OutOfTimeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MASK = "**********"

# A name that holds a credential, in configuration and in the environment.
_SECRET_NAME = re.compile(
    r"((api|access|subscription)[-_]?key|secret|password|credential|(access|auth|bearer)_?token|(\b|[-_])token|authorization)$",
    re.IGNORECASE,
)

# What nothing but a credential looks like; the looser pattern below would take prose for one.
_SECRET_VALUE = re.compile(
    r"\b(sk|pk|tgp|gsk|xai|lsv2)[-_](?=[\w-]*\d)[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}|(?i:\bbearer)\s+(?=\S*\d)\S{16,}"
)

_SECRET_TEXT = re.compile(
    r"(?i)\b(bearer\s+)\S+|\b(sk|pk|tgp|gsk|xai|hf|lsv2)[-_][\w-]{8,}|((?:api[_-]?key|token)[\"']?\s*[=:]\s*[\"']?)[^\s\"',}]{8,}"
    r"|(://[^\s/:@]*:)[^\s/@]+(?=@)"
)

_IN_URL = re.compile(r"://([^\s/:@]*)(?::([^\s/@]*))?@")

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


def masked(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Return settings with every credential in them masked, at any depth.

    Args:
        value: The settings.
        secrets: Values that are masked wherever else they stand.
    """
    return _masked(value, _longest_first(secrets))


def _masked(value: Any, known: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {key: _MASK if is_secret_name(str(key)) else _masked(item, known) for key, item in value.items()}
    if isinstance(value, str) and known:
        return conceal(value, known)
    return [_masked(item, known) for item in value] if isinstance(value, list) else value


def secrets_of(whole: object) -> tuple[str, ...]:
    """Return the credentials inside a model, a chain, a graph, embeddings or a strategy, wherever they stand in it.

    They are the values of secret fields, the texts that have a secret's name (in `default_headers`, for example), and those
    in addresses such as `https://user:password@host`.

    Args:
        whole: What to look into, or a list of it.
    """
    found: dict[str, None] = {}
    for name, part in parts_of(whole):
        if isinstance(part, SecretStr):
            found[part.get_secret_value()] = None
        elif isinstance(part, str):
            values = _in_header(part) if is_secret_name(name) else _in_address(part) if "://" in part else ()
            found |= dict.fromkeys(values)
    return tuple(text for text in found if text)


def _in_header(value: str) -> Iterator[str]:
    yield value
    # A server may show the key without the scheme that stands before it: `Bearer ...`.
    yield value.rpartition(" ")[2]


def _in_address(address: str) -> Iterator[str]:
    for user, password in _IN_URL.findall(address):
        yield from (f"{user}:{password}", password) if password else (user,)
        # As clients send them.
        plain = f"{unquote(user)}:{unquote(password)}"
        yield from (unquote(password), b64encode(plain.encode()).decode())


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
    return _SECRET_TEXT.sub(lambda match: f"{match[1] or match[3] or match[4] or ''}{_MASK}", text)


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
    return _longest_first((*secrets, *environment))


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in secrets if len(value) >= _MIN_LENGTH}, key=len, reverse=True))


def describe(error: BaseException, secrets: Iterable[str] = ()) -> Failure:
    """Return an exception as plain data: its type's name, or which limit has come, and its text without secrets."""
    kind = error.kind if isinstance(error, OutOfTimeError) else type(error).__name__
    return Failure(kind=kind, message=redact(str(error), secrets) or "no message")
