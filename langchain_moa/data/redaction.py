"""Redaction: masks credentials in everything this package writes: errors, references, states, metadata, logs, files, pages.

The values of known credentials are masked: secret fields, headers, URLs with a user, environment variables with the name of a
secret, and the credentials in the request of an HTTP error. In addition, anything that has the form of a key is masked.
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
from langchain_moa.data.sanitizing import whole_characters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MASK = "**********"

# In the text of an error, a name and the value after it: `X-Auth-Key: ...`, `'api_key': '...'`, `OPENAI_API_KEY=...`.
_ASSIGNED = re.compile(
    r"(?<![\w-])([A-Za-z_][\w-]{2,63})[\"']?[ \t]{0,4}[=:][ \t]{0,4}[\"']?(?:(?i:Bearer|Basic|Digest|Token)[ \t]{1,4})?"
    r"([^\s\"',;}&]{8,})"
)

# Shorter values are not keys, and masking them would garble the text.
_MIN_LENGTH = 8


def names_secret(value: Any, name: str = "", *, allows: Callable[[Any], bool] = lambda _: False) -> str | None:
    """Return the first key, at any depth, with the name of a credential or with a value that has the form of one.

    Args:
        value: The data of a configuration file: mappings, lists, strings, numbers.
        name: The key of `value`.
        allows: Returns whether a value is allowed under such a name, such as a reference to an environment variable.

    Returns:
        The key, or `None` if there is no credential.
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
    """Return settings with all credentials masked, at any depth.

    Args:
        value: The settings.
        secrets: Values to mask in any string.
    """
    return _masked(value, _longest_first(secrets))


def _masked(value: Any, known: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {key: _MASK if is_secret_name(str(key)) else _masked(item, known) for key, item in value.items()}
    if isinstance(value, str):
        return conceal(value, known)
    return [_masked(item, known) for item in value] if isinstance(value, list) else value


def secrets_of(whole: object) -> tuple[str, ...]:
    """Return the credentials in a model, a chain, a graph, embeddings or a strategy.

    These are `SecretStr` values, the fields and environment variables of `lc_secrets`, strings under the name of a secret (in
    `default_headers`, for example), and users and passwords in URLs.

    Args:
        whole: The object to search, or a list of objects.
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
    # A server may show the key without the scheme before it, such as `Bearer`.
    yield value.rpartition(" ")[2]
    # Or the value of one cookie.
    for pair in value.split(";"):
        yield pair.partition("=")[2].strip()


def _in_address(address: str) -> Iterator[str]:
    for user, password in in_address(address):
        yield from (f"{user}:{password}", password) if password else (user,)
        # The forms in which clients send them.
        plain = f"{unquote(user)}:{unquote(password)}"
        yield from (unquote(password), b64encode(plain.encode()).decode())


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask credentials in a technical text, such as an error message.

    Masks known values, anything that has the form of a key, and values after the name of a secret (`token=...`).

    Args:
        text: The text, for example a provider's error.
        secrets: Known secret values, in addition to those of the environment.

    Returns:
        The text with `**********` in place of each credential.
    """
    concealed = conceal(text, known_secrets(secrets))
    return _ASSIGNED.sub(_without_value, concealed)


def _without_value(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    if value.startswith(_MASK) or not re.search(r"\d", value) or not is_secret_name(name):
        return match[0]  # not a credential, as in `unexpected token: identifier`
    return f"{match[0].removesuffix(value)}{_MASK}"


def conceal(text: str, known: Iterable[str]) -> str:
    """Mask credentials in the text of people and models.

    Masks known values and anything that has the form of a key. Unlike `redact`, it ignores the names before values, which in
    prose and code would give false positives.

    Args:
        text: Any text.
        known: The result of `known_secrets`.

    Returns:
        The text with `**********` in place of each credential.
    """
    for value in known:
        text = text.replace(value, _MASK)
    parts: list[str] = []
    done = 0
    for start, end in credentials_in(text):
        parts += text[done:start], _MASK
        done = end
    return "".join([*parts, text[done:]])


def known_secrets(secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the given secrets and those of the environment, the longest first.

    Args:
        secrets: Known secret values. Short ones are left out.
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
    """Return an exception as a failure: the name of its type (or the kind of its time limit), and its text without secrets.

    For connection errors, the text also has the host, the port and what to check.
    """
    kind = error.kind if isinstance(error, OutOfTimeError) else type(error).__name__
    # State and metadata cannot hold lone surrogates.
    message = whole_characters(str(error)) or "no message"
    if not isinstance(error, OutOfTimeError) and (cause := cause_of(error, _chain(error))) is not None:
        # The clients' own text is only "Connection error."
        message = f"{message} ({cause})"
    return Failure(kind=kind, message=redact(message, [*secrets, *_sent(error)]))


def cleanse(error: BaseException, secrets: Iterable[str]) -> None:
    """Mask secrets in an exception and its causes, in place.

    Args:
        error: The exception.
        secrets: Known secret values, in addition to those of the environment.
    """
    known = (*secrets, *_sent(error))
    for each in _chain(error):
        arguments = _cleansed(each.args, known)
        if arguments != each.args:
            each.args = arguments
        # Only plain data is changed, because other types may not allow comparison or assignment.
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
    """Yield the credentials in the requests attached to HTTP errors, because a server's error may quote its request."""
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
