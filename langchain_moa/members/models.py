"""Model strings, and what a chat model says of itself."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from pydantic import SecretStr, ValidationError

from langchain_moa._compat import known_providers, provider_of, tracing_params
from langchain_moa.data.credentials import is_secret_name
from langchain_moa.data.redaction import redact
from langchain_moa.data.validation import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable

_LOCAL = "local:"
_REPLAY = "replay:"

# How the fields end that hold a client's address.
_ADDRESS = ("api_base", "api_url", "base_url", "endpoint", "endpoint_url", "region_name")

# The field by which LangChain's clients have a server count the tokens of a stream.
_COUNTS_STREAMS = "stream_usage"


def resolve_model(name: str, settings: Mapping[str, Any]) -> BaseChatModel:
    """Make the chat model that a string names.

    Args:
        name: `provider:model` as `langchain.chat_models.init_chat_model` takes it, or `local:` and the name of a model on
            this machine, or `replay:FILE#MODEL` for recorded answers.
        settings: Arguments of the model's constructor.

    Returns:
        The model, ready to be called.

    Raises:
        ValueError: The provider is unknown, a key is missing, or a setting is wrong; the text names the remedy.
        ImportError: The provider's package is not installed; the text names the pip command.
    """
    try:
        if name.startswith(_LOCAL):
            from langchain_moa.local import ChatLocal

            return ChatLocal(model=name.removeprefix(_LOCAL), **settings)
        if name.startswith(_REPLAY):
            from langchain_moa.testing.replay import replay_model

            return replay_model(name, **settings)
        from langchain.chat_models import init_chat_model

        model: BaseChatModel = init_chat_model(name, **settings)
    except ImportError as error:
        msg = f"cannot make the model {name!r}: {error}"
        raise type(error)(msg, name=error.name, path=error.path) from error
    except Exception as error:
        # Some clients name another provider's variable here, OpenAI's for Together, whose client is made of OpenAI's.
        if variable := _variable_of_missing_key(name, settings):
            raise _no_key(name, variable) from error
        reason = explain(error) if isinstance(error, ValidationError) else _provider_missing(name) or str(error)
        msg = redact(f"cannot make the model {name!r}: {reason}", _values(settings))
        # Providers raise what their client raises; one type, with their text, is what a caller can handle.
        raise ValueError(msg) from error
    _require_key(name, model)
    _count_streams(model, settings)
    return model


def chat_model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the chat model inside a binding, a retry, a fallback or a configurable model; `None` if there is none."""
    while not isinstance(runnable, BaseChatModel):
        if isinstance(runnable, RunnableBindingBase):
            runnable = runnable.bound
        elif isinstance(runnable, RunnableWithFallbacks):
            runnable = runnable.runnable
        elif isinstance(runnable, DynamicRunnable):
            runnable = runnable.default
        else:
            return None
    return runnable


def model_id(runnable: Runnable[Any, Any]) -> str:
    """Return `provider:model` of a chat model, or the name of any other Runnable."""
    model = chat_model_of(runnable)
    if model is None:
        return runnable.get_name()
    params = tracing_params(model)
    name = params.get("ls_model_name")
    return f"{params.get('ls_provider')}:{name}" if name else model.get_name()


def addresses_of(model: BaseChatModel) -> list[str]:
    """Return the addresses at which a model's client asks, as far as its fields say so."""
    named = sorted(name for name in type(model).model_fields if name.endswith(_ADDRESS))
    return [str(value) for name in named if (value := getattr(model, name, None))]


def _count_streams(model: BaseChatModel, settings: Mapping[str, Any]) -> None:
    """Have a stream's tokens counted unless the user says otherwise: whoever streams pays no less than others.

    By default OpenAI's client asks for them at OpenAI's own address only, and Together's nowhere.
    """
    if _COUNTS_STREAMS in type(model).model_fields and _COUNTS_STREAMS not in settings:
        setattr(model, _COUNTS_STREAMS, True)


def _require_key(name: str, model: BaseChatModel) -> None:
    """Refuse a model whose provider takes a key and has none: the first call would fail, and only then."""
    for attribute, variable in _key_variables(model).items():
        value = getattr(model, attribute)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise _no_key(name, variable)


def _key_variables(model: BaseChatModel) -> dict[str, str]:
    """Return the model's fields that take a key, each with its environment variable."""
    secrets = model.lc_secrets.items()
    return {name: variable for name, variable in secrets if name.endswith("api_key") and hasattr(model, name)}


def _variable_of_missing_key(name: str, settings: Mapping[str, Any]) -> str | None:
    """Return the variable that a model which could not be made wants its key in; `None` if something else is wrong."""
    if name.startswith((_LOCAL, _REPLAY)) or "api_key" in settings:
        return None
    from langchain.chat_models import init_chat_model

    try:
        # Only made, never called: if any key will do, then a key is what was missing.
        model = init_chat_model(name, **settings, api_key="any")
    except Exception:  # noqa: BLE001  # the first error says what is wrong
        return None
    return next(iter(_key_variables(model).values()), None)


def _no_key(name: str, variable: str) -> ValueError:
    return ValueError(f"cannot make the model {name!r}: no key. Set the environment variable {variable}.")


def _provider_missing(name: str) -> str | None:
    """Return what to write instead of a name without a known provider; `None` if the provider is known.

    LangChain's own text advises a `model_provider`, which a member does not have, and does not list `local`.
    """
    if name.startswith((_LOCAL, _REPLAY)) or provider_of(name) is not None:
        return None
    known = sorted([_LOCAL.removesuffix(":"), _REPLAY.removesuffix(":"), *known_providers()])
    provider, colon, _ = name.partition(":")
    if not colon:
        return f"it has no provider; write 'provider:model' with one of {', '.join(known)}"
    # Less alike than this is another provider rather than a slip of the finger.
    close = get_close_matches(provider, known, n=1, cutoff=0.7)
    remedy = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"unknown provider {provider!r}; {remedy}"


def _values(settings: Mapping[str, Any]) -> list[str]:
    return [str(value) for key, value in settings.items() if is_secret_name(key)]
