"""Makes models from strings such as `provider:model`, and reads ids, addresses and the chat model of a Runnable."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from pydantic import SecretStr, ValidationError

from langchain_moa._compat import provider_of, provider_packages, tracing_params
from langchain_moa.data.credentials import is_secret_name
from langchain_moa.data.redaction import redact
from langchain_moa.data.validation import explain
from langchain_moa.members.keys import SERVERS, addresses_in, checks_key, missing_key, placeholders, server_of, with_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable

_LOCAL = "local:"
_REPLAY = "replay:"
_PRESET = "preset:"
_CONFIG = "config:"

# Other names of providers, in lower case and without dots and dashes, for suggestions in errors.
_ALIASES = {
    **dict.fromkeys(("gpt", "chatgpt"), "openai"),
    **dict.fromkeys(("claude",), "anthropic"),
    **dict.fromkeys(("google", "gemini", "googleai", "googlegenerativeai"), "google_genai"),
    **dict.fromkeys(("vertex", "vertexai"), "google_vertexai"),
    **dict.fromkeys(("aws", "amazon", "awsbedrock"), "bedrock_converse"),
    **dict.fromkeys(("azure", "azureopenai"), "azure_openai"),
    **dict.fromkeys(("hf", "huggingfacehub"), "huggingface"),
    **dict.fromkeys(("mistral",), "mistralai"),
    **dict.fromkeys(("grok",), "xai"),
    **dict.fromkeys(("togetherai",), "together"),
    **dict.fromkeys(("llamacpp", "llamaserver"), "llamacpp"),
    **dict.fromkeys(("lmstudio",), "lmstudio"),
}

# Prefixes of the names of open models, for which an error suggests Ollama.
_FAMILIES = ("llama", "qwen", "gemma", "phi", "smollm", "granite", "mixtral")

# Tags of Ollama's models, which are written where others name a model: `mistral:7b`, `gpt-oss:20b`.
_TAG = re.compile(r"(latest|\d+(\.\d+)?[bm])(-[\w.-]*)?", re.IGNORECASE)

# Above this similarity, an unknown setting is a typo. `top_k` and `top_p`, with 0.8, are two settings.
_MISSPELT = 0.9

# The field with which LangChain's clients ask a server for the usage of a stream.
_COUNTS_STREAMS = "stream_usage"


def resolve_model(name: str, settings: Mapping[str, Any], *, key: Any = None) -> BaseChatModel:
    """Make the chat model that a string names.

    Args:
        name: `provider:model` as `langchain.chat_models.init_chat_model` takes it; `vllm:`, `lmstudio:` or `llamacpp:` and
            the name of a model on that server; `local:` and the name of a model on this machine; or `replay:FILE#MODEL` for
            recorded answers.
        settings: Arguments of the model's constructor. A key can be a reference to an environment variable, `${NAME}`.
        key: The key for a model whose settings have none, a string or a SecretStr. Default: the provider's key from the
            environment, if the address is the provider's own.

    Returns:
        The chat model.

    Raises:
        ValueError: The provider is unknown, a key is missing, or a setting is invalid. The message names the remedy.
        ImportError: The provider's package is not installed. The message has the pip command.
    """
    provider = _provider_in(name) or settings.get("model_provider")
    if (said := _provider_missing(name) if provider is None else _model_missing(name)) is not None:
        msg = redact(f"cannot make the model {name!r}: {said}")
        raise ValueError(msg)
    try:
        given = _given(name, provider, settings, key)
    except ValueError as error:
        msg = f"cannot make the model {name!r}: {error}"
        raise ValueError(msg) from None
    try:
        if name.startswith(_LOCAL):
            from langchain_moa.local import ChatLocal

            return ChatLocal(model=name.removeprefix(_LOCAL), **given)
        if name.startswith(_REPLAY):
            from langchain_moa.testing.replay import replay_model

            return replay_model(name, **given)
        model = _served(name, given) if provider in SERVERS else _hosted(name, given)
    except ImportError as error:
        msg = f"cannot make the model {name!r}: {error}"
        raise type(error)(msg, name=error.name, path=error.path) from error
    except Exception as error:
        # Some clients' own errors name another provider's variable, such as OpenAI's for Together.
        if said := _missing_key(name, provider, given):
            msg = f"cannot make the model {name!r}: {said}."
            raise ValueError(msg) from error
        reason = explain(error) if isinstance(error, ValidationError) else str(error)
        msg = redact(f"cannot make the model {name!r}: {reason}", _values(given))
        # Clients raise errors of many types; callers get a ValueError with their text.
        raise ValueError(msg) from error
    _require_known(name, settings, model)
    _require_key(name, provider, model)
    _count_streams(model, settings)
    return model


def _served(name: str, settings: Mapping[str, Any]) -> BaseChatModel:
    from langchain_moa.members.chat_server import ChatServer

    provider, _, model = name.partition(":")
    return ChatServer.model_validate({**settings, "provider": provider, "model": model})


def _hosted(name: str, settings: Mapping[str, Any]) -> BaseChatModel:
    from langchain.chat_models import init_chat_model

    model: BaseChatModel = init_chat_model(name, **settings)
    return model


def names_mixture(name: str) -> bool:
    """Return whether a model string names another mixture: `preset:NAME` or `config:FILE`."""
    return name.startswith((_PRESET, _CONFIG))


def is_on_this_machine(name: str) -> bool:
    """Return whether a model string names a local model or recorded answers, which have no server."""
    return name.startswith((_LOCAL, _REPLAY))


def resolve_mixture(name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> BaseChatModel:
    """Make the mixture that a string names, as a chat model.

    Args:
        name: `preset:NAME` or `config:FILE`.
        settings: Fields of the mixture that override those of the preset or the file.
        defaults: Fields that the preset or the file overrides.

    Raises:
        ValueError: The preset or file does not exist, or does not describe a mixture.
        ImportError: A provider's package is not installed. The message has the pip command.
    """
    # Imported by name, because mixtures are made of members and would be a circular import.
    make = import_module("langchain_moa.chat_model.chat_model").ChatMoA
    config = import_module("langchain_moa.mixture.config")
    kind, _, what = name.partition(":")
    read = config.read_preset if kind == "preset" else config.read_config
    try:
        model: BaseChatModel = read(make, what.strip(), settings, defaults=defaults)
    except ImportError as error:
        msg = f"cannot make the mixture {name!r}: {error}"
        raise type(error)(msg, name=error.name, path=error.path) from error
    except ValueError as error:
        msg = f"cannot make the mixture {name!r}: {error}"
        raise ValueError(msg) from error
    return model


def chat_model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the (first) chat model inside a binding, a retry, a fallback or a configurable model, or `None`."""
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


def single_model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the only chat model that a Runnable can call, or `None` if there is none or there are several (fallbacks)."""
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    return runnable if isinstance(runnable, BaseChatModel) else None


def model_id(runnable: Runnable[Any, Any]) -> str:
    """Return `provider:model` of a chat model, or the name of any other Runnable."""
    model = chat_model_of(runnable)
    if model is None:
        return runnable.get_name()
    params = tracing_params(model)
    name = params.get("ls_model_name")
    return f"{params.get('ls_provider')}:{name}" if name else model.get_name()


def addresses_of(model: BaseChatModel) -> list[str]:
    """Return the server addresses in a model's fields."""
    fields = {name: getattr(model, name, None) for name in type(model).model_fields}
    return list(addresses_in({name: value for name, value in fields.items() if isinstance(value, str)}))


def server_of_model(model: BaseChatModel) -> str:
    """Return the server of a chat model: `host:port` of its address, or the provider if it has no address."""
    addresses = addresses_of(model)
    return server_of(addresses[0]) if addresses else str(tracing_params(model).get("ls_provider"))


def _given(name: str, provider: str | None, settings: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """Return the constructor's arguments: the settings and the key."""
    if name.startswith((_LOCAL, _REPLAY)):
        return {**({} if key is None else {"api_key": key}), **settings}
    return with_keys(provider, settings, shared=key)


def _count_streams(model: BaseChatModel, settings: Mapping[str, Any]) -> None:
    """Enable the usage of streams, unless the user has set it.

    By default, OpenAI's client asks for it at OpenAI's own address only, and Together's never does.
    """
    if _COUNTS_STREAMS in type(model).model_fields and _COUNTS_STREAMS not in settings:
        setattr(model, _COUNTS_STREAMS, True)


def _require_known(name: str, settings: Mapping[str, Any], model: BaseChatModel) -> None:
    """Refuse a misspelt setting: some classes ignore what they do not know, and others pass it on to the server."""
    fields = type(model).model_fields
    known = {*fields, *(field.alias for field in fields.values() if field.alias)}
    for setting in settings:
        if setting not in known and (close := get_close_matches(setting, sorted(known), n=1, cutoff=_MISSPELT)):
            msg = f"cannot make the model {name!r}: unknown setting {setting!r}; did you mean {close[0]!r}?"
            raise ValueError(msg)


def _require_key(name: str, provider: str | None, model: BaseChatModel) -> None:
    """Raise an error for a missing key that the client would notice only at the first call, or replace with another key."""
    checks = checks_key(provider)
    if checks or (checks is None and not _takes_openai_key(model)):
        return
    for attribute, variable in _key_variables(model).items():
        value = getattr(model, attribute)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            msg = f"cannot make the model {name!r}: {missing_key(provider, (variable,))}."
            raise ValueError(msg)


def _takes_openai_key(model: BaseChatModel) -> bool:
    """Return whether a model uses OpenAI's client, which reads OpenAI's key from the environment by default."""
    from langchain_openai.chat_models.base import BaseChatOpenAI

    return isinstance(model, BaseChatOpenAI)


def _key_variables(model: BaseChatModel) -> dict[str, str]:
    """Return the model's fields that take a key, each with its environment variable."""
    secrets = model.lc_secrets.items()
    return {name: variable for name, variable in secrets if name.endswith("api_key") and hasattr(model, name)}


def _missing_key(name: str, provider: str | None, settings: Mapping[str, Any]) -> str | None:
    """Return the message about a missing key if that is why a model could not be made, or else `None`.

    Args:
        name: The model string.
        provider: The provider of the model.
        settings: The arguments with which the model could not be made.
    """
    if (
        name.startswith((_LOCAL, _REPLAY))
        or provider in SERVERS
        or any(is_secret_name(each) and value for each, value in settings.items())
    ):
        return None
    from langchain.chat_models import init_chat_model

    try:
        # If the model can be made with a placeholder, the key was missing. It is never called.
        model = init_chat_model(name, **{**settings, **placeholders(provider)})
    except Exception:  # noqa: BLE001  # something else is wrong; the first error is reported
        return None
    return missing_key(provider, tuple(_key_variables(model).values()))


def _provider_in(name: str) -> str | None:
    """Return the provider of a model string, or `None` if it has no known provider.

    LangChain takes `gemini:x` for a model `gemini:x` of Vertex, and `gpt-oss:20b` for a model of OpenAI.
    """
    provider, colon, model = name.partition(":")
    if colon and provider in SERVERS:
        return provider
    is_other = colon and provider not in provider_packages() and (_plain(provider) in _ALIASES or _TAG.fullmatch(model))
    return None if is_other else provider_of(name)


def _plain(provider: str) -> str:
    """Return a provider's name in lower case, with letters and digits only."""
    return "".join(filter(str.isalnum, provider.lower()))


def _provider_missing(name: str) -> str | None:
    """Return the message about a name without a known provider, or `None` if the provider is known.

    LangChain's own message suggests `model_provider`, which members do not have, and does not list `local`.
    """
    if name.startswith((_LOCAL, _REPLAY)) or _provider_in(name) is not None:
        return None
    packages = provider_packages()
    known = sorted([_LOCAL.removesuffix(":"), _REPLAY.removesuffix(":"), *SERVERS, *packages])
    provider, colon, model = name.partition(":")
    if provider.lower() in {"http", "https"}:
        return "it is an address; name the model, such as 'ollama:NAME' or 'vllm:NAME', and give the address as its base_url"
    if not colon and "/" in name:
        provider, _, model = name.partition("/")
        # `openai/gpt-4o`, as some routers write it. Other names with a slash are those of open models.
        if provider not in known and _plain(provider) not in _ALIASES:
            provider, model = name, ""
    # `llama3.2`, or Ollama's `llama3.2:3b`, without a provider.
    is_family = provider.startswith(_FAMILIES) and any(map(str.isdigit, provider))
    is_tagged = colon and provider not in known and _TAG.fullmatch(model) is not None
    if not model or is_family or is_tagged:
        from langchain_moa.local.catalog import CATALOG

        example = f"{'local' if name in CATALOG else 'ollama' if is_family or is_tagged else 'openai'}:{name}"
        return f"it has no provider; write 'provider:model', such as {example!r}, with one of {', '.join(known)}"
    # Below this similarity, it is another provider rather than a typo.
    plain = _plain(provider)
    close = [_ALIASES[plain]] if plain in _ALIASES else get_close_matches(provider.lower(), known, n=1, cutoff=0.7)
    if not close:
        return f"unknown provider {provider!r}; choose one of: {', '.join(known)}"
    wrong = f"unknown provider {provider!r}" if colon else "it has no provider"
    said = f"{wrong}; did you mean '{close[0]}:{model}'?"
    package = packages.get(close[0])
    if package is None or find_spec(package.replace("-", "_")) is not None:
        return said
    return f"{said} It needs: pip install {package}"


def _model_missing(name: str) -> str | None:
    """Say that a name has a provider alone; `None` if it names a model."""
    provider, colon, model = name.partition(":")
    if not colon or model.strip():
        return None
    return f"it names no model; write '{provider}:NAME'{' with a model that the server has loaded' * (provider in SERVERS)}"


def _values(settings: Mapping[str, Any]) -> list[str]:
    return [str(value) for key, value in settings.items() if is_secret_name(key)]
