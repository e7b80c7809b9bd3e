"""Credentials are recognized by their names and formats, and nothing else is mistaken for one."""

from __future__ import annotations

import random
import string
from base64 import b64encode
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.data import credentials
from langchain_moa.data.credentials import credentials_in, is_secret_name
from langchain_moa.data.redaction import conceal, known_secrets, masked, names_secret, redact


def of(letters: str, count: int) -> str:
    """Return random letters, generated here so that secret scanners do not find a key in this file."""
    return "".join(random.Random(7).choices(letters, k=count))  # noqa: S311  # no secret


ANY = string.ascii_letters + string.digits

VALUES = {
    "Google": "AIza" + of(ANY, 35),
    "GitHub": "ghp_" + of(ANY, 36),
    "AWS": "AKIA" + of(string.ascii_uppercase + "234567", 16),
    "Perplexity": "pplx-" + of(ANY, 48),
    "NVIDIA": "nvapi-" + of(ANY, 64),
    "JWT": ".".join(["ey" + of(ANY, 30), "ey" + of(ANY, 40), of(ANY, 43)]),
    "OpenAI": "sk-proj-" + of(ANY, 40),
    "Anthropic": "sk-ant-api03-" + of(ANY, 93) + "AA",
    "Hugging Face": "hf_" + of(ANY, 34),
    "Groq": "gsk_" + of(ANY, 52),
    "xAI": "xai-" + of(ANY, 80),
    "Together": "tgp_v1_" + of(ANY, 43),
    "LangSmith": "lsv2_pt_" + of("0123456789abcdef", 32),
    "Slack": "xoxb-" + of(string.digits, 12) + "-" + of(string.digits, 12) + of(ANY, 24),
    "GitLab": "glpat-" + of(ANY, 20),
    "Stripe": "sk_live_" + of(ANY, 24),
    "header": "Bearer " + of(ANY, 24) + "1",
    "basic": "Basic " + b64encode(b"user:password").decode(),
    "address": "http://me:pw@host/v1",
}

NAMES = [
    *("X-Auth-Key", "Helicone-Auth", "Cookie", "Set-Cookie", "private_key", "credentials", "passwd", "api_keys", "apiKey"),
    *("OPENAI_API_KEY", "OPENAI_API_KEY_2", "OPENAI_API_KEY_PROD", "DATABASE_URL", "REDIS_URL", "api-key", "Authorization"),
    *("HF_TOKEN", "access_token", "accessToken", "client_secret", "PGPASSWORD", "Ocp-Apim-Subscription-Key", "token"),
    *("x-goog-api-key", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "SENTRY_DSN", "connection_string", "MYSQL_PWD"),
    *("HUGGINGFACE_KEY", "ANTHROPIC_KEY", "JWT", "DB_PASS", "GITHUB_PAT", "X-Portkey-Virtual-Key"),
]

PLAIN_NAMES = [
    *("max_tokens", "token_usage", "total_tokens", "stop_token", "eos_token", "prompt_cache_key", "key", "author", "monkey"),
    *(
        "primary_key",
        "base_url",
        "url",
        "model",
        "tokenizer",
        "password_policy",
        "max_reference_tokens",
        "sort_key",
        "PWD",
        "OLDPWD",
        "first_pass",
        "pat",
    ),
]

PROSE = [
    "Bearer authorization requires a token.",
    "Use basic authentication, with a user name.",
    "The token: identifier expected here",
    "A sk-learn-based-pipeline-for-text-classification is easy.",
    "See https://example.com/a:b@c and mail someone@example.com.",
    "risk-averse-investors-prefer-bonds-in-2026",
    "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
    "550e8400-e29b-41d4-a716-446655440000",
    "The Akiane, the AKIA prefix and ghp_ are explained below.",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_credentials(name: str) -> None:
    assert is_secret_name(name)
    assert names_secret({"settings": {"headers": {name: "x"}}}) == name
    assert masked({"headers": {name: "quite ordinary"}}) == {"headers": {name: "**********"}}


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_of_anything_else(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("kind", VALUES)
def test_forms_of_credentials(kind: str) -> None:
    value = VALUES[kind]
    for text in (value, f"wrong key {value}.", f'{{"key": "{value}"}}', f"({value}, and more)", f"a\n{value}\nb"):
        shown = conceal(text, ())
        assert "**********" in shown
        assert value not in shown
        assert value not in redact(text)
    assert names_secret({"settings": {"note": value}}) == "note"
    assert value not in str(masked({"settings": [{"note": f"see {value}"}]}))


@pytest.mark.parametrize("text", PROSE)
def test_prose_holds_no_credentials(text: str) -> None:
    assert credentials_in(text) == []
    assert redact(text) == text


@pytest.mark.parametrize("name", [*NAMES, "my_password", "X-Api-Key"])
@pytest.mark.parametrize("text", ["{}={}", "{}: {}", "{{'{}': '{}'}}", '{{"{}": "{}"}}', "[{}: Token {}]"])
def test_an_error_does_not_show_what_follows_the_name_of_a_credential(name: str, text: str) -> None:
    assert "plain-value-1" not in redact(text.format(name, "plain-value-1"))


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_an_error_shows_what_follows_another_name(name: str) -> None:
    assert redact(f"{name}: plain-value-1") == f"{name}: plain-value-1"


def test_a_password_in_an_address_is_masked_and_the_rest_stays() -> None:
    assert conceal("POST http://me:pw@host:8080/v1 failed", ()) == "POST http://me:**********@host:8080/v1 failed"


def test_the_values_of_the_environment_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_2", "first-plain-value")
    monkeypatch.setenv("BROKER", "amqp://me:second-plain-value@host")
    monkeypatch.setenv("MODEL", "third-plain-value")
    known = known_secrets()
    assert {"first-plain-value", "second-plain-value"} <= {*known}
    assert "third-plain-value" not in known


def test_every_rule_of_the_list_is_read() -> None:
    rules = credentials._rules()
    assert len(rules) > 200
    for rule in rules:
        assert rule.pattern.groups >= (1 if credentials._BEFORE_NAME in rule.expression else 0), rule.id
        assert rule.keywords, rule.id


PIECES = st.sampled_from([*"abc019-_:/@.=\"' \n", "sk-", "Bearer ", "://", "eyJ", "AKIA", "password"])


@given(st.lists(PIECES, max_size=200))
def test_what_has_been_masked_stays_as_it_is(pieces: list[str]) -> None:
    text = "".join(pieces)
    once = conceal(text, ())
    assert conceal(once, ()) == once
    spans = credentials_in(text)
    assert spans == sorted(spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
