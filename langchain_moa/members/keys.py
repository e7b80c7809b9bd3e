"""Keys: decides which API key a model's client gets, depending on its address.

A provider's key from the environment is sent to the provider's own address only. Another address needs an explicit key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from langchain_moa.data.credentials import is_secret_name
from langchain_moa.data.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_KEY = "none"
"""The key that is sent to servers that need none, because clients require one."""

# Placeholders for keys, as in the documentation of vLLM, llama.cpp, LM Studio and Ollama. They are not secret.
_PLACEHOLDERS = {
    *("empty", "none", "null", "no-key", "nokey", "not-needed", "not-used", "not-required", "unused", "ignored", "dummy"),
    *("sk-no-key-required", "no-key-required", "lm-studio", "ollama", "local", "test", "x", "xx", "xxx", "-"),
}

# `${NAME}`, or `Bearer ${NAME}` in a header.
_REFERENCE = re.compile(r"\s*(?:(?P<scheme>[A-Za-z]+) +)?\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}\s*")

# Settings that provide credentials but are not secret themselves.
_OTHER_CREDENTIALS = {"azure_ad_token_provider", "credentials", "credentials_profile_name"}

_ADDRESS_NAME = re.compile(r"(^|_|-)(url|uri|base|host|endpoint|server|address)$", re.IGNORECASE)

# Characters for which urlsplit and HTTP clients may disagree about the end of the host.
_STRANGE = re.compile(r"[\\\s\x00-\x1f\x7f]")


class _Provider(NamedTuple):
    """The keys and addresses of a provider.

    Attributes:
        hosts: Patterns of the provider's hosts. `*` does not match a dot.
        addresses: Environment variables for another address of the provider, such as a gateway's.
        variables: Environment variables of the credentials. Several in one string are needed together.
        placeholders: Settings that keep the client from reading credentials from the environment. Those that are `None` are
            also needed in addition to an explicit key.
        needs_key: Whether an address other than the provider's own needs a key.
        checks_key: Whether the client raises an error at construction if there is no key, and reads no other provider's key.
        token: Environment variable of a token that the client sends even if other credentials are given.
        default_address: The default address of a server that users run themselves, or `None`.
        address_setting: The name of the constructor's argument for the address.
    """

    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    placeholders: Mapping[str, Any] = {"api_key": NO_KEY}  # never modified
    needs_key: bool = True
    checks_key: bool = True
    token: str | None = None
    default_address: str | None = None
    address_setting: str = "base_url"


_AWS = _Provider(
    hosts=(
        *("bedrock*.[a-z][a-z]-*.amazonaws.com", "bedrock*.[a-z][a-z]-*.amazonaws.com.cn", "bedrock*.*.api.aws"),
        "vpce-*.bedrock*.[a-z][a-z]-*.vpce.amazonaws.com",
    ),
    addresses=("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"),
    variables=("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"),
    placeholders={"aws_access_key_id": NO_KEY, "aws_secret_access_key": NO_KEY, "aws_session_token": None},
    token="AWS_BEARER_TOKEN_BEDROCK",  # noqa: S106  # the name of a variable
)


def _server(name: str, port: int) -> _Provider:
    """Return the provider for a server that users run themselves and that has OpenAI's protocol."""
    prefix = name.upper()
    return _Provider(
        addresses=(f"{prefix}_BASE_URL",),
        variables=(f"{prefix}_API_KEY",),
        needs_key=False,
        default_address=f"http://localhost:{port}/v1",
    )


_PROVIDERS: dict[str, _Provider] = {
    "anthropic": _Provider(
        ("api.anthropic.com",), ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL"), ("ANTHROPIC_API_KEY",), checks_key=False
    ),
    "anthropic_bedrock": _AWS,
    "azure_openai": _Provider(
        (
            "*.openai.azure.com",
            "*.cognitiveservices.azure.com",
            "*.services.ai.azure.com",
            "*.openai.azure.us",
            "*.openai.azure.cn",
        ),
        ("AZURE_OPENAI_ENDPOINT", "OPENAI_API_BASE"),
        ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"),
        {"api_key": NO_KEY, "azure_ad_token": NO_KEY},
        address_setting="azure_endpoint",
    ),
    "bedrock": _AWS._replace(address_setting="endpoint_url"),
    "bedrock_converse": _AWS,
    "cohere": _Provider(
        ("api.cohere.com", "api.cohere.ai"), ("CO_API_URL",), ("COHERE_API_KEY", "CO_API_KEY"), {"cohere_api_key": NO_KEY}
    ),
    "deepseek": _Provider(("api.deepseek.com",), ("DEEPSEEK_API_BASE",), ("DEEPSEEK_API_KEY",)),
    "fireworks": _Provider(("api.fireworks.ai",), ("FIREWORKS_API_BASE", "FIREWORKS_BASE_URL"), ("FIREWORKS_API_KEY",)),
    "google_genai": _Provider(
        ("generativelanguage.googleapis.com", "*aiplatform.googleapis.com"),
        ("GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL"),
        ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI and GOOGLE_CLOUD_PROJECT"),
        {"api_key": NO_KEY, "vertexai": False},
    ),
    "groq": _Provider(("api.groq.com",), ("GROQ_API_BASE", "GROQ_BASE_URL"), ("GROQ_API_KEY",)),
    "llamacpp": _server("llamacpp", 8080),
    "lmstudio": _server("lmstudio", 1234),
    "mistralai": _Provider(("*.mistral.ai",), ("MISTRAL_BASE_URL",), ("MISTRAL_API_KEY",), checks_key=False),
    "ollama": _Provider(("ollama.com",), ("OLLAMA_HOST",), ("OLLAMA_API_KEY",), needs_key=False),
    "openai": _Provider(("api.openai.com", "*.api.openai.com"), ("OPENAI_BASE_URL", "OPENAI_API_BASE"), ("OPENAI_API_KEY",)),
    "together": _Provider(
        ("api.together.xyz", "api.together.ai"), ("TOGETHER_API_BASE",), ("TOGETHER_API_KEY",), checks_key=False
    ),
    "vllm": _server("vllm", 8000),
    "xai": _Provider(("api.x.ai", "*.api.x.ai"), ("XAI_API_BASE",), ("XAI_API_KEY",)),
}

_OLLAMA_ADDRESS = "http://localhost:11434"

SERVERS = tuple(name for name, known in _PROVIDERS.items() if known.default_address)
"""The providers that are servers that users run themselves, with OpenAI's protocol: `llamacpp`, `lmstudio`, `vllm`."""


def known_variables() -> set[str]:
    """Return the environment variables for the credentials and addresses of all known providers."""
    known = _PROVIDERS.values()
    names = {name for one in known for text in one.variables for name in text.split(" and ")}
    return names | {name for one in known for name in one.addresses}


def usual_address(provider: str) -> str | None:
    """Return where a provider's client calls if a model names no address; `None` is the provider's own.

    Args:
        provider: The provider.
    """
    known = _PROVIDERS.get(provider)
    if known is None:
        return None
    named = (os.environ.get(variable, "").strip() for variable in known.addresses)
    return next(filter(None, named), _OLLAMA_ADDRESS if provider == "ollama" else known.default_address)


def is_open(value: Any) -> bool:
    """Return whether the value of a key is allowed in a file or on a command line, because it is not secret.

    Args:
        value: The value. References such as `${NAME}` and `Bearer ${NAME}`, and placeholders such as `EMPTY`, are allowed.
    """
    return _is_placeholder(value) or (isinstance(value, str) and _REFERENCE.fullmatch(value) is not None)


def variables_named(value: Any) -> Iterator[str]:
    """Yield the environment variables that settings refer to as `${NAME}`, at any depth.

    Args:
        value: Settings, or the fields of a mixture.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            found = _REFERENCE.fullmatch(item) if isinstance(item, str) and is_secret_name(str(name)) else None
            yield from [found["name"]] if found else variables_named(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from variables_named(item)


def with_keys(provider: str | None, settings: Mapping[str, Any], *, shared: Any = None) -> dict[str, Any]:
    """Return the constructor's arguments for a model, with the key for its address.

    Args:
        provider: The provider, as `init_chat_model` names it.
        settings: Arguments of the model's constructor. A key can be a reference to an environment variable, `${NAME}`.
        shared: The key of the mixture, for a member without its own.

    Raises:
        ValueError: An environment variable is not set, or the address is not the provider's own and has no key.
    """
    known = _PROVIDERS.get(provider or "", _Provider(addresses=_usual_addresses(provider)))
    # With a placeholder, no key is needed (for a drawing, for example), so environment variables need not be set either.
    unset = NO_KEY if _is_placeholder(shared) else None
    given = {name: _resolved(value, name, unset) for name, value in settings.items()}
    if shared is not None and not any(is_secret_name(name) for name in given):
        key = {"api_key": _resolved(shared, "api_key", unset)}
        given |= key if unset is None or "api_key" in known.placeholders else known.placeholders
    if provider == "azure_openai" and not os.environ.get("AZURE_OPENAI_API_KEY"):
        # Otherwise, LangChain's class would send OpenAI's key to Azure.
        given.setdefault("api_key", None)
    given = _addressed(known, given)
    elsewhere = [address for address in addresses_in(given) if not _is_own(address, known)]
    if elsewhere and not _has_key(given):
        if known.needs_key and not all(map(is_local, elsewhere)):
            raise ValueError(_no_key_for(elsewhere[0], provider, known))
        given |= known.placeholders
    if elsewhere:
        # Settings of `None` keep the client from reading them from the environment in addition to an explicit key.
        given = {**{name: value for name, value in known.placeholders.items() if value is None}, **given}
    if elsewhere and known.token and os.environ.get(known.token) and not {"api_key", "bedrock_api_key"} & given.keys():
        msg = f"{redact(elsewhere[0])} would get the token in {known.token}; name a key for it, api_key: ${{NAME}}, or unset it"
        raise ValueError(msg)
    if known.default_address and not _has_key(given):
        # Without a key, OpenAI's client would read OpenAI's key from the environment.
        keys = [os.environ[name] for name in known.variables if os.environ.get(name)]
        given["api_key"] = [*keys, NO_KEY][0]
    return _placed(provider, given)


def addresses_in(settings: Any, name: str = "") -> Iterator[str]:
    """Yield the addresses of servers in settings, at any depth.

    Args:
        settings: Arguments of a model's constructor.
        name: The key of `settings`.
    """
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from addresses_in(value, str(key))
    elif isinstance(settings, str) and settings.strip() and _ADDRESS_NAME.search(name):
        yield settings


def is_local(address: str) -> bool:
    """Return whether an address is on this machine.

    Args:
        address: A URL, or a host with or without a port.
    """
    host = _parts(address)[1]
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


def server_of(address: str) -> str:
    """Return `host:port` of an address, by which calls of members are limited."""
    scheme, host, port, _ = _parts(address)
    return f"{host}:{port or (80 if scheme == 'http' else 443)}"


def missing_key(provider: str | None, variables: tuple[str, ...]) -> str:
    """Return the message that a model has no key, with the environment variables to set.

    Args:
        provider: The provider.
        variables: The environment variables that the model's class reports, for providers not in the table.
    """
    names = _PROVIDERS[provider].variables if provider in _PROVIDERS else variables
    if not names:
        return "no key. Set the environment variable of its provider"
    one = f"the environment variable {names[0]}" if len(names) == 1 else f"one of these in the environment: {'; '.join(names)}"
    return f"no key. Set {one}"


def placeholders(provider: str | None) -> dict[str, Any]:
    """Return placeholder settings with which a provider's client can be made without a key."""
    return dict(_PROVIDERS.get(provider or "", _Provider()).placeholders)


def checks_key(provider: str | None) -> bool | None:
    """Return whether a provider's client raises an error at construction if there is no key; `None` if unknown.

    If it does not, its first call fails or sends another provider's key.
    """
    return _PROVIDERS[provider].checks_key if provider in _PROVIDERS else None


def _addressed(known: _Provider, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the address under the name that the provider's class uses."""
    if known.default_address and not any(True for _ in addresses_in(settings)):
        named = [os.environ[name] for name in known.addresses if os.environ.get(name)]
        settings = {**settings, "base_url": (named or [known.default_address])[0]}
    # Azure's class takes the full path to a deployment as `base_url`.
    if known.address_setting == "base_url" or "/openai/" in str(settings.get("base_url")):
        return settings
    return {known.address_setting if name == "base_url" else name: value for name, value in settings.items()}


def _is_placeholder(value: Any) -> bool:
    text = _plain(value)
    return isinstance(text, str) and text.strip().lower() in _PLACEHOLDERS


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _resolved(value: Any, name: str, unset: str | None) -> Any:
    """Replace references to environment variables in a setting.

    Args:
        value: The setting.
        name: The name of the setting. Only settings with the name of a secret can be references.
        unset: The value for variables that are not set. With `None`, such a variable raises an error.
    """
    if isinstance(value, Mapping):
        return {key: _resolved(item, str(key), unset) for key, item in value.items()}
    text = _plain(value)
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) and is_secret_name(name) else None
    if found is None:
        return value
    if not (key := os.environ.get(found["name"]) or unset):
        msg = f"{name} refers to the environment variable {found['name']}, which is not set; set it"
        raise ValueError(msg)
    # Not a SecretStr, which not all clients accept; `secrets_of` finds the key by its name.
    return f"{found['scheme']} {key}" if found["scheme"] else key


def _has_key(settings: Any) -> bool:
    """Return whether settings have a credential, at any depth."""
    if not isinstance(settings, Mapping):
        return False
    return any(bool(value) if _holds_key(str(name)) else _has_key(value) for name, value in settings.items())


def _holds_key(name: str) -> bool:
    return is_secret_name(name) or name in _OTHER_CREDENTIALS


def _is_own(address: str, provider: _Provider) -> bool:
    """Return whether an address is the provider's own, or the one in the provider's environment variables."""
    scheme, host, port, path = _parts(address)
    if scheme in {"https", ""} and port in (None, 443) and any(_matches(host, pattern) for pattern in provider.hosts):
        return True
    addresses = [provider.default_address, *map(os.environ.get, provider.addresses)]
    named = [_parts(address) for address in addresses if address]
    return bool(host) and any((scheme, host, port, path.rstrip("/")) == (*each[:3], each[3].rstrip("/")) for each in named)


def _matches(host: str, pattern: str) -> bool:
    """Match a host label by label, because customers of a cloud can choose labels below the cloud's domain."""
    labels, patterns = host.split("."), pattern.split(".")
    return len(labels) == len(patterns) and all(map(fnmatchcase, labels, patterns))


def _parts(address: str) -> tuple[str, str, int | None, str]:
    """Return the scheme, host, port and path of an address; empty if it cannot be parsed safely."""
    address = address.strip()
    if _STRANGE.search(address):
        return "", "", None, ""
    try:
        found = urlsplit(address if "://" in address else f"//{address}")
        return found.scheme.lower(), (found.hostname or "").rstrip("."), found.port, found.path
    except ValueError:
        return "", "", None, ""


def _usual_addresses(provider: str | None) -> tuple[str, ...]:
    prefix = (provider or "").upper()
    return tuple(f"{prefix}_{end}" for end in ("BASE_URL", "API_BASE", "API_URL", "ENDPOINT", "URL")) if prefix else ()


def _no_key_for(address: str, provider: str | None, known: _Provider) -> str:
    key = next(iter(known.variables), "the provider's key")
    msg = f"{redact(address)} is not an address of {provider}, so it does not get {key}. Name a key for it with "
    msg += "`api_key: ${NAME}`, or write `api_key: none` if it needs none"
    return f"{msg}; if it is your gateway to {provider}, set {known.addresses[0]} instead" if known.addresses else msg


def _placed(provider: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the key where the provider's class takes it, for classes without `api_key`."""
    if "api_key" not in settings or provider not in {"cohere", "ollama"}:
        return settings
    key = settings.pop("api_key")
    if provider == "cohere":
        return {"cohere_api_key": key, **settings}
    if _is_placeholder(key) and not os.environ.get("OLLAMA_API_KEY"):
        return settings
    client = dict(settings.get("client_kwargs") or {})
    headers = {"Authorization": f"Bearer {_plain(key)}", **(client.get("headers") or {})}
    return {**settings, "client_kwargs": {**client, "headers": headers}}
