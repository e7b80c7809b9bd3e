"""Redaction: keep keys out of everything that is shown, stored or sent on: errors, references, traces, events."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables.config import var_child_runnable_config
from pydantic import SecretStr

from langchain_moa.data.errors import OutOfTimeError
from langchain_moa.data.parts import parts_of
from langchain_moa.data.reference import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from langchain_core.runnables import RunnableConfig

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


class RedactionHandler(BaseCallbackHandler):
    """Masks a member's keys in its errors, in place, and in what traces are told of its models.

    Some servers say in their errors what they were shown. The text of such an error reaches tracers by LangChain's callbacks
    before it reaches whoever made the call; so this is the first of the callbacks. Of a model they are told all parameters,
    headers included, where it is called.
    """

    run_inline = True
    ignore_custom_event = True

    def __init__(self, secrets: Sequence[str]) -> None:
        """Make it for one member.

        Args:
            secrets: The values that no error may show.
        """
        self._secrets = secrets

    def __hash__(self) -> int:
        """Return what keeps it in front: LangChain merges the callbacks of two configs as sets, and those begin with 0."""
        return 0

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same one."""
        return self is other

    def on_chat_model_start(self, serialized: Any, *_: Any, invocation_params: Any = None, **__: Any) -> None:
        """Cleanse what the other handlers are told of a chat model; the call itself goes by other objects."""
        self._cleanse_start(serialized, invocation_params)

    def on_llm_start(self, serialized: Any, *_: Any, invocation_params: Any = None, **__: Any) -> None:
        """Cleanse what they are told of any other model."""
        self._cleanse_start(serialized, invocation_params)

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        """Cleanse what a chain, a graph or a function raises."""
        cleanse(error, self._secrets)

    def on_tool_error(self, error: BaseException, **_: Any) -> None:
        """Cleanse what a tool raises."""
        cleanse(error, self._secrets)

    def on_retriever_error(self, error: BaseException, **_: Any) -> None:
        """Cleanse what a retriever raises."""
        cleanse(error, self._secrets)

    def on_llm_error(self, error: BaseException, *, response: LLMResult | None = None, **_: Any) -> None:
        """Cleanse the error, and what LangChain has made of the server's response, before the other handlers see them."""
        cleanse(error, self._secrets)
        for generation in (each for several in (response.generations if response else ()) for each in several):
            if isinstance(generation, ChatGeneration):
                message = generation.message
                message.response_metadata = _cleansed(message.response_metadata, tuple(self._secrets))

    def _cleanse_start(self, *told: Any) -> None:
        for each in told:
            # The outermost dict is made for the callbacks; what is in it is the model's own, and only replaced.
            for name, value in list(each.items()) if isinstance(each, dict) else ():
                each[name] = masked(value, self._secrets)


def in_front(handler: BaseCallbackHandler, callbacks: Any) -> Any:
    """Return a config's callbacks with a handler in front, which they themselves do not get."""
    if isinstance(callbacks, BaseCallbackManager):
        manager = callbacks.copy()
        manager.handlers = [handler, *manager.handlers]
        manager.inheritable_handlers = [handler, *manager.inheritable_handlers]
        return manager
    return [handler, *(callbacks or ())]


@contextmanager
def surrounding(config: RunnableConfig) -> Generator[None]:
    """Have a call's config be the one that is found by whoever looks around, as graphs and bindings do.

    Else they would merge the callbacks of the node's, which have no redaction handler, with those that they are given.

    Args:
        config: The call's config.
    """
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def handlers_of(callbacks: Any) -> list[BaseCallbackHandler]:
    """Return the handlers of a config's callbacks."""
    return list(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ())


def cleanse(error: BaseException, secrets: Iterable[str]) -> None:
    """Mask secrets in an exception, and in all that caused it; one that shows none is left as it is.

    Args:
        error: The exception.
        secrets: Values known to be secret, beside those of the environment.
    """
    known, seen = tuple(secrets), set[int]()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__, *(each.exceptions if isinstance(each, BaseExceptionGroup) else ())]
        arguments = _cleansed(each.args, known)
        if arguments != each.args:
            each.args = arguments
        # Their types may refuse to be compared or set; only what is plain data is touched.
        for name, value in list(vars(each).items()):
            if isinstance(value, (str, Mapping, list, tuple)) and (clean := _cleansed(value, known)) != value:
                vars(each)[name] = clean


def _cleansed(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        return {key: _cleansed(item, secrets) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_cleansed(item, secrets) for item in value)
    return value
