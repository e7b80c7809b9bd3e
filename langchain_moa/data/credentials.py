"""Credentials: recognizes them by the names of settings and environment variables, and by their form in a text."""

from __future__ import annotations

import re
import tomllib
from base64 import b64decode
from binascii import Error as DecodingError
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from math import log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Span = tuple[int, int]

# Splits names into words: `X-Api-Key`, `api_key`, `apiKey`, `OPENAI_API_KEY_2`.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# Trailing words that are ignored: `API_KEY_PROD`, `CREDENTIALS_JSON`.
_TRAILING = {"b", "base", "dev", "header", "headers", "json", "new", "old", "prod", "production", "staging", "test", "value"}

# Last words, or last two words, of names that Sentry's SDK and detect-secrets treat as secret.
_SECRET_WORDS = {
    *("auth", "authorization", "cookie", "cookies", "credential", "credentials", "dsn", "passphrase", "passwd", "password"),
    *("passwords", "secret", "secrets", "csrftoken", "jwt", "sessionid"),
}
_SECRET_ENDS = ("apikey", "apikeys", "accesskey", "accesstoken", "authtoken", "passphrase", "passwd", "password", "secret")
_SECRET_KEYS = {
    *("access", "account", "admin", "api", "auth", "client", "consumer", "database", "db", "encryption", "license", "master"),
    *("priv", "private", "secret", "service", "shared", "signing", "ssh", "storage", "subscription", "virtual"),
    # Providers: `ANTHROPIC_KEY`.
    *("anthropic", "azure", "cohere", "deepseek", "fireworks", "gemini", "groq", "hf", "huggingface", "mistral", "nvidia"),
    *("openai", "openrouter", "perplexity", "together", "xai"),
}
_SECRET_TOKENS = {"access", "api", "auth", "bearer", "refresh", "session"}

# Words before `token` in names of parameters and counts, which are not credentials.
_PLAIN_TOKENS = {
    *("begin", "bos", "cls", "end", "eos", "first", "image", "last", "mask", "max", "min", "next"),
    *("pad", "per", "sep", "special", "start", "stop", "think", "unk"),
}
_DATABASES = {
    *("amqp", "broker", "database", "db", "mongo", "mongodb"),
    *("mysql", "postgres", "postgresql", "rabbitmq", "redis", "sqlalchemy"),
}

# Last words that name a credential only after certain other words.
_SECRET_BEHIND = {
    **dict.fromkeys(("key", "keys"), _SECRET_KEYS),
    **dict.fromkeys(("uri", "url", "urls"), _DATABASES),
    **dict.fromkeys(("str", "string"), frozenset({"conn", "connection"})),
    "tokens": _SECRET_TOKENS,
    # `PWD` alone is the shell's current directory.
    **dict.fromkeys(("pass", "pwd"), frozenset({*_DATABASES, "admin", "root", "smtp", "user"})),
    "pat": {"github", "gitlab"},
}

# Keys of model providers that gitleaks has no rule for, or too narrow a one. That a key has a digit is checked separately, as
# patterns must not have unbounded lookahead.
_OF_PROVIDERS = re.compile(
    r"\b(?:(?:sk|pk|rk|tgp|gsk|xai|lsv2|nvapi|pplx|csk|fw|r8)[-_][\w-]{16,}|hf_\w{30,}|AIza[\w-]{30,}|gh[pousr]_\w{30,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}\b)"
)

# Credentials after the scheme of an `Authorization` header. Prose such as `Bearer authorization requires` does not match.
_BEARER = re.compile(r"(?i:\bbearer)[ \t]{1,4}([^\s\"',;]{16,})")
_BASIC = re.compile(r"(?i:\bbasic)[ \t]{1,4}([A-Za-z0-9+/]{8,}={0,2})")

# `user:password@` in a URL.
_IN_ADDRESS = re.compile(r"://([^\s/:@\"'<>?#]*):([^\s/@\"'<>]+)@")

# Rules of gitleaks that are not used: they are for source code, and take more than linear time or match any long word.
_LEFT_OUT = {"curl-auth-header", "curl-auth-user", "generic-api-key", "kubernetes-secret-yaml", "nuget-config-password"}

# Parts of gitleaks' patterns that are replaced: a prefix, and what must follow a key. In prose, punctuation may follow.
_BEFORE_NAME = r"[\w.-]{0,50}?"
_BEHIND = (r"""(?:[\x60'"\s;]|\\[nr]|$)""", r"""(?:[\x60'"\s;]|\\[nr]|$|\b)""")


def is_secret_name(name: str) -> bool:
    """Return whether the name of a setting, header or environment variable is that of a credential."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and words[-1] in _TRAILING:
        words.pop()
    if not words:
        return False
    *before, last = words
    kind = before[-1] if before else ""
    if last in _SECRET_BEHIND:
        return kind in _SECRET_BEHIND[last]
    if last == "token":
        return kind not in _PLAIN_TOKENS
    return last in _SECRET_WORDS or last.endswith(_SECRET_ENDS)


def credentials_in(text: str) -> list[Span]:
    """Find credentials in a text by their form: keys of many services, headers, and URLs with a password.

    The forms are those of gitleaks (`gitleaks.toml`, MIT License, see `gitleaks.LICENSE`) and of further model providers. The
    time is linear in the length of the text.

    Args:
        text: Any text.

    Returns:
        The spans of the credentials, in order and without overlaps.
    """
    return _apart(_found(text))


def in_address(address: str) -> list[tuple[str, str]]:
    """Return the user and password of each URL in a text, not decoded. The password may be empty."""
    return re.findall(r"://([^\s/:@]*)(?::([^\s/@]*))?@", address)


def _found(text: str) -> Iterator[Span]:
    for found in _OF_PROVIDERS.finditer(text):
        if _has_digit(found[0]):
            yield found.span()
    for found in _BEARER.finditer(text):
        if _has_digit(found[1]):
            yield found.span(1)
    for found in _BASIC.finditer(text):
        if _is_pair(found[1]):
            yield found.span(1)
    for found in _IN_ADDRESS.finditer(text):
        yield found.span(2)
    lowered = text.lower()
    for rule in _rules():
        if any(keyword in lowered for keyword in rule.keywords):
            yield from rule.found(text)


def _apart(spans: Iterable[Span]) -> list[Span]:
    apart: list[Span] = []
    for start, end in sorted(spans):
        if apart and start < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def _has_digit(text: str) -> bool:
    return re.search(r"\d", text) is not None


def _is_pair(encoded: str) -> bool:
    """Return whether a text is `user:password` in base64, as in an `Authorization: Basic` header."""
    try:
        return b":" in b64decode(encoded, validate=True)
    except (DecodingError, ValueError):
        return False


@dataclass(frozen=True)
class Rule:
    """A rule of gitleaks.

    Attributes:
        id: The name of the rule.
        expression: The pattern in Go's syntax, as in the file.
        keywords: Lower-case words. Texts without any of them are skipped.
        entropy: Minimum entropy of a secret, in bits per character.
    """

    id: str
    expression: str
    keywords: tuple[str, ...]
    entropy: float

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern compiled for Python."""
        # The optional prefix is removed, because it would be tried at every position of a text.
        expression = self.expression.replace(_BEFORE_NAME, "")
        for behind in _BEHIND:
            if expression.endswith(behind):
                expression = f"{expression.removesuffix(behind)}(?![A-Za-z0-9])"
        # In Go, inline flags can be anywhere in a pattern.
        flags = re.IGNORECASE if "(?i)" in expression else re.NOFLAG
        expression = expression.replace("(?i)", "").replace("[:alnum:]", "a-zA-Z0-9").replace(r"\z", r"\Z")
        return re.compile(expression, flags)

    def found(self, text: str) -> Iterator[Span]:
        """Yield the spans of the secrets in a text that match this rule."""
        # Rules with a prefix also match the name before the secret, which is in group 1.
        group = 1 if _BEFORE_NAME in self.expression else 0
        for match in self.pattern.finditer(text):
            if _entropy(match[group]) >= self.entropy:
                yield match.span(group)


@cache
def _rules() -> tuple[Rule, ...]:
    data = tomllib.loads((files("langchain_moa") / "data" / "gitleaks.toml").read_text(encoding="utf-8"))
    return tuple(
        Rule(each["id"], each["regex"], tuple(each["keywords"]), each.get("entropy", 0.0))
        for each in data["rules"]
        if "regex" in each and each["id"] not in _LEFT_OUT
    )


def _entropy(text: str) -> float:
    return -sum(count / len(text) * log2(count / len(text)) for count in Counter(text).values())
