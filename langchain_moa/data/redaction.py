"""Redaction: keep credentials out of what this package writes: errors, references, states, metadata, logs, files, pages.

Credentials are known by declaration: secret fields, headers, addresses with a user, variables of the environment with a
secret's name, and what the request behind an error carried. Beside these, anything of a key's form is masked.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from langchain_core.load.serializable import Serializable
from pydantic import SecretStr

from langchain_moa.data.components import components_of
from langchain_moa.data.connections import cause_of
from langchain_moa.data.credentials import credentials_in, in_address, is_secret_name
from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.data.reference import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MASK = "**********"

# In the text of an error, a name and what follows it: `X-Auth-Key: ...`, `'api_key': '...'`, `OPENAI_API_KEY=...`.
_ASSIGNED = re.compile(
    r"(?<![\w-])([A-Za-z_][\w-]{2,63})[\"']?[ \t]{0,4}[=:][ \t]{0,4}[\"']?(?:(?i:Bearer|Basic|Digest|Token)[ \t]{1,4})?"
    r"([^\s\"',;}&]{8,})"
)

# Shorter values are no keys, and masking them would garble the text around.
_MIN_LENGTH = 8


def names_secret(value: Any, name: str = "", *, allows: Callable[[Any], bool] = lambda _: False) -> str | None:
    """Return the first key, at any depth, that holds a credential by its name or by the look of its value.

    Args:
        value: What a configuration file holds: mappings, lists, texts, numbers.
        name: The key that `value` stands under.
        allows: Whether a value may stand under such a name after all: a reference to a key, and not a key.

    Returns:
        The key; `None` if there is no credential.
    """
    found: Iterator[str | None] = iter(())
    if isinstance(value, Mapping):
        found = (
            (None if allows(item) else str(key)) if is_secret_name(str(key)) else names_secret(item, str(key), allows=allows)
            for key, item in value.items()
        )
    elif isinstance(value, list):
        found = (names_secret(item, name, allows=allows) for item in value)
    elif isinstance(value, str) and credentials_in(value):
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
    if isinstance(value, str):
        return conceal(value, known)
    return [_masked(item, known) for item in value] if isinstance(value, list) else value


def secrets_of(whole: object) -> tuple[str, ...]:
    """Return the credentials that a model, a chain, a graph, embeddings or a strategy declares.

    They are the values of secret fields and of the fields and variables in `lc_secrets`, the texts that have a secret's name
    (in `default_headers`, for example), and those in addresses such as `https://user:password@host`.

    Args:
        whole: What to look into, or a list of it.
    """
    found: dict[str, None] = {}
    for name, part in components_of(whole):
        if isinstance(part, SecretStr):
            found[part.get_secret_value()] = None
        elif isinstance(part, str):
            values = _in_header(part) if is_secret_name(name) else _in_address(part) if "://" in part else ()
            found |= dict.fromkeys(values)
        elif isinstance(part, Serializable):
            found |= dict.fromkeys(_declared(part))
    return tuple(text for text in found if text)


def _declared(part: Serializable) -> Iterator[str]:
    for field, variable in part.lc_secrets.items():
        for value in (getattr(part, field, None), os.environ.get(variable)):
            if isinstance(value, str):
                yield value


def _in_header(value: str) -> Iterator[str]:
    yield value
    # A server may show the key without the scheme that stands before it: `Bearer ...`.
    yield value.rpartition(" ")[2]
    # Or the value of one cookie.
    for pair in value.split(";"):
        yield pair.partition("=")[2].strip()


def _in_address(address: str) -> Iterator[str]:
    for user, password in in_address(address):
        yield from (f"{user}:{password}", password) if password else (user,)
        # As clients send them.
        plain = f"{unquote(user)}:{unquote(password)}"
        yield from (unquote(password), b64encode(plain.encode()).decode())


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask credentials in a text that is no prose, such as an error.

    Args:
        text: Any text, a provider's error for example.
        secrets: Values known to be secret, beside those of the environment.

    Returns:
        The text with `**********` wherever a known value, something of a key's form, or the value of a secret's name stood.
    """
    concealed = conceal(text, known_secrets(secrets))
    return _ASSIGNED.sub(_without_value, concealed)


def _without_value(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    if value.startswith(_MASK) or not re.search(r"\d", value) or not is_secret_name(name):
        return match[0]  # `unexpected token: identifier`
    return f"{match[0].removesuffix(value)}{_MASK}"


def conceal(text: str, known: Iterable[str]) -> str:
    """Mask credentials in what people and models have written, where looser rules would take prose and code for some.

    Args:
        text: Any text.
        known: What `known_secrets` has returned.

    Returns:
        The text with `**********` wherever a known value, or something of a key's form, stood.
    """
    for value in known:
        text = text.replace(value, _MASK)
    for start, end in reversed(credentials_in(text)):
        text = f"{text[:start]}{_MASK}{text[end:]}"
    return text


def known_secrets(secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the values of the environment's secrets and of others, the longest first.

    Args:
        secrets: The others.
    """
    return _longest_first((*secrets, *_of_environment()))


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if is_secret_name(name):
            yield value
        if "://" in value and any(password for _, password in in_address(value)):
            yield from _in_address(value)


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in secrets if len(value) >= _MIN_LENGTH}, key=len, reverse=True))


def describe(error: BaseException, secrets: Iterable[str] = ()) -> Failure:
    """Return an exception as plain data: its type's name, or which limit has come, and its text without secrets.

    Of a connection that failed, the text also says where and what to check.
    """
    kind = error.kind if isinstance(error, OutOfTimeError) else type(error).__name__
    message = str(error) or "no message"
    if not isinstance(error, OutOfTimeError) and (cause := cause_of(error, _chain(error))) is not None:
        # Clients say no more than "Connection error."
        message = f"{message} ({cause})"
    return Failure(kind=kind, message=redact(message, [*secrets, *_sent(error)]))


def cleanse(error: BaseException, secrets: Iterable[str]) -> None:
    """Mask secrets in an exception, and in all that caused it; one that shows none is left as it is.

    Args:
        error: The exception.
        secrets: Values known to be secret, beside those of the environment.
    """
    known = (*secrets, *_sent(error))
    for each in _chain(error):
        arguments = _cleansed(each.args, known)
        if arguments != each.args:
            each.args = arguments
        # Their types may refuse to be compared or set; only what is plain data is touched.
        for name, value in list(vars(each).items()):
            if isinstance(value, (str, Mapping, list, tuple)) and (clean := _cleansed(value, known)) != value:
                vars(each)[name] = clean


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = set[int]()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__, *(each.exceptions if isinstance(each, BaseExceptionGroup) else ())]
        yield each


def _sent(error: BaseException) -> Iterator[str]:
    """Return the credentials of the requests that HTTP clients put beside their errors: a server may show what it was sent."""
    for each in _chain(error):
        for request in (_request(each), _request(getattr(each, "response", None))):
            headers = getattr(request, "headers", None)
            # Some clients keep their headers as bytes or lists.
            if isinstance(headers, Mapping):
                for name, value in headers.items():
                    if is_secret_name(str(name)) and isinstance(value, str):
                        yield from _in_header(value)
            yield from _in_address(str(getattr(request, "url", "")))


def _request(holder: object) -> Any:
    try:
        return getattr(holder, "request", None)
    except RuntimeError:
        return None  # raised by httpx's errors and responses that have no request


def _cleansed(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        return {key: _cleansed(item, secrets) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_cleansed(item, secrets) for item in value)
    return value
