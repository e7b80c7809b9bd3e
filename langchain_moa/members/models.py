"""Model strings, and what a chat model says of itself."""

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

# What providers are called where LangChain has another name, written without dots, dashes and capitals.
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

# How the names of open models begin, which Ollama serves without further words.
_FAMILIES = ("llama", "qwen", "gemma", "phi", "smollm", "granite", "mixtral")

# The tags of Ollama's models, which stand where others write a model: `mistral:7b`, `gpt-oss:20b`.
_TAG = re.compile(r"(latest|\d+(\.\d+)?[bm])(-[\w.-]*)?", re.IGNORECASE)

# How alike a setting and one that a class has are where it is a slip: `top_k` and `top_p`, 0.8, are two.
_MISSPELT = 0.9

# The field by which LangChain's clients have a server count the tokens of a stream.
_COUNTS_STREAMS = "stream_usage"


def resolve_model(name: str, settings: Mapping[str, Any], *, key: Any = None) -> BaseChatModel:
    """Make the chat model that a string names.

    Args:
        name: `provider:model` as `langchain.chat_models.init_chat_model` takes it; `vllm:`, `lmstudio:` or `llamacpp:` and
            the name of a model on that server; `local:` and the name of a model on this machine; or `replay:FILE#MODEL` for
            recorded answers.
        settings: Arguments of the model's constructor; a key among them may be a reference, `${NAME}`.
        key: The key for a model whose settings name none, a text or a SecretStr. Default: that of the environment, at the
            provider's own address.

    Returns:
        The model, ready to be called.

    Raises:
        ValueError: The provider is unknown, a key is missing, or a setting is wrong; the text names the remedy.
        ImportError: The provider's package is not installed; the text names the pip command.
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
        # Some clients name another provider's variable here, OpenAI's for Together, whose client is made of OpenAI's.
        if said := _missing_key(name, provider, given):
            msg = f"cannot make the model {name!r}: {said}."
            raise ValueError(msg) from error
        reason = explain(error) if isinstance(error, ValidationError) else str(error)
        msg = redact(f"cannot make the model {name!r}: {reason}", _values(given))
        # Providers raise what their client raises; one type, with their text, is what a caller can handle.
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
    """Tell whether a model string names another mixture: `preset:NAME` or `config:FILE`."""
    return name.startswith((_PRESET, _CONFIG))


def is_on_this_machine(name: str) -> bool:
    """Tell whether a model string names a local model or recorded answers, which have no server."""
    return name.startswith((_LOCAL, _REPLAY))


def resolve_mixture(name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> BaseChatModel:
    """Make the mixture that a string names, as a chat model.

    Args:
        name: `preset:NAME` or `config:FILE`.
        settings: Fields of the mixture that override those of the preset or the file.
        defaults: Fields that the preset or the file overrides.

    Raises:
        ValueError: There is no such preset or file, or it describes no mixture.
        ImportError: A provider's package is not installed; the text names the pip command.
    """
    # By name, like the providers' classes: a mixture is made of members, and this one is a member.
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


def single_model_of(runnable: Runnable[Any, Any]) -> BaseChatModel | None:
    """Return the only chat model that a Runnable can call; `None` if there is none, or if there may be others (fallbacks)."""
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
    """Return the addresses at which a model's client calls, as far as its fields say so."""
    fields = {name: getattr(model, name, None) for name in type(model).model_fields}
    return list(addresses_in({name: value for name, value in fields.items() if isinstance(value, str)}))


def server_of_model(model: BaseChatModel) -> str:
    """Return the server that a chat model calls: `host:port` where it has an address, the provider where it has none."""
    addresses = addresses_of(model)
    return server_of(addresses[0]) if addresses else str(tracing_params(model).get("ls_provider"))


def _given(name: str, provider: str | None, settings: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """Return what a model is made with: its settings and its key."""
    if name.startswith((_LOCAL, _REPLAY)):
        return {**({} if key is None else {"api_key": key}), **settings}
    return with_keys(provider, settings, shared=key)


def _count_streams(model: BaseChatModel, settings: Mapping[str, Any]) -> None:
    """Have the tokens of streams counted unless the user says otherwise.

    By default OpenAI's client asks for them at OpenAI's own address only, and Together's nowhere.
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
    """Refuse a model without a key if its client would only say so at the first call, or send another provider's key."""
    checks = checks_key(provider)
    if checks or (checks is None and not _takes_openai_key(model)):
        return
    for attribute, variable in _key_variables(model).items():
        value = getattr(model, attribute)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            msg = f"cannot make the model {name!r}: {missing_key(provider, (variable,))}."
            raise ValueError(msg)


def _takes_openai_key(model: BaseChatModel) -> bool:
    """Tell whether a model's client is OpenAI's, which takes OpenAI's key from the environment where it is given none."""
    from langchain_openai.chat_models.base import BaseChatOpenAI

    return isinstance(model, BaseChatOpenAI)


def _key_variables(model: BaseChatModel) -> dict[str, str]:
    """Return the model's fields that take a key, each with its environment variable."""
    secrets = model.lc_secrets.items()
    return {name: variable for name, variable in secrets if name.endswith("api_key") and hasattr(model, name)}


def _missing_key(name: str, provider: str | None, settings: Mapping[str, Any]) -> str | None:
    """Say that a model which could not be made has no key; `None` if something else is wrong.

    Args:
        name: The model's name.
        provider: Its provider.
        settings: The settings with which it could not be made.
    """
    if (
        name.startswith((_LOCAL, _REPLAY))
        or provider in SERVERS
        or any(is_secret_name(each) and value for each, value in settings.items())
    ):
        return None
    from langchain.chat_models import init_chat_model

    try:
        # Only made, never called: if any key will do, then a key is what was missing.
        model = init_chat_model(name, **{**settings, **placeholders(provider)})
    except Exception:  # noqa: BLE001  # the first error says what is wrong
        return None
    return missing_key(provider, tuple(_key_variables(model).values()))


def _provider_in(name: str) -> str | None:
    """Return the provider of a model string; `None` if it names none that is known.

    LangChain takes `gemini:x` for a model `gemini:x` of Vertex, and `gpt-oss:20b` for one of OpenAI's.
    """
    provider, colon, model = name.partition(":")
    if colon and provider in SERVERS:
        return provider
    is_other = colon and provider not in provider_packages() and (_plain(provider) in _ALIASES or _TAG.fullmatch(model))
    return None if is_other else provider_of(name)


def _plain(provider: str) -> str:
    """Return a provider's name without dots, dashes and capitals."""
    return "".join(filter(str.isalnum, provider.lower()))


def _provider_missing(name: str) -> str | None:
    """Return what to write instead of a name without a known provider; `None` if the provider is known.

    LangChain's own text advises a `model_provider`, which a member does not have, and does not list `local`.
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
    # `llama3.2`, or Ollama's `llama3.2:3b`, where a provider was forgotten.
    is_family = provider.startswith(_FAMILIES) and any(map(str.isdigit, provider))
    is_tagged = colon and provider not in known and _TAG.fullmatch(model) is not None
    if not model or is_family or is_tagged:
        from langchain_moa.local.catalog import CATALOG

        example = f"{'local' if name in CATALOG else 'ollama' if is_family or is_tagged else 'openai'}:{name}"
        return f"it has no provider; write 'provider:model', such as {example!r}, with one of {', '.join(known)}"
    # Less alike than this is another provider rather than a slip of the finger.
    plain = _plain(provider)
    close = [_ALIASES[plain]] if plain in _ALIASES else get_close_matches(provider.lower(), known, n=1, cutoff=0.7)
    if not close:
        return f"unknown provider {provider!r}; known are {', '.join(known)}"
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
