"""Models of the providers' real packages, connected to the loopback server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import BaseChatModel

    from tests.providers.server import ProviderServer

KEY = "a-key-of-the-loopback"
BUDGET = 1024
"""The thinking budget of models that have one, in tokens."""


def member(server: ProviderServer, provider: str, *, thinking: bool = False, **settings: Any) -> BaseChatModel:
    """Return a chat model of a provider's real package.

    Args:
        server: The server.
        provider: One of `PROVIDERS`.
        thinking: Whether to enable thoughts, with the provider's own setting.
        settings: Fields of its class, including `model`, which override the defaults.

    Raises:
        KeyError: The provider does not exist.
    """
    return _MAKERS[provider](server.url_of(provider), thinking, settings)


def _anthropic(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_anthropic import ChatAnthropic

    more = {"thinking": {"type": "enabled", "budget_tokens": BUDGET}} if thinking else {}
    fields = {"model": "claude-sonnet-4-6", "max_tokens": 2 * BUDGET, "api_key": KEY, "max_retries": 0, "base_url": url}
    return ChatAnthropic(**{**fields, **more, **settings})


def _bedrock(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_aws import ChatBedrockConverse

    more = {"additional_model_request_fields": {"thinking": {"type": "enabled", "budget_tokens": BUDGET}}} if thinking else {}
    fields = {
        "model": "anthropic.claude-haiku-4-5-20251001-v1:0",
        "max_tokens": 2 * BUDGET,
        "region_name": "us-east-1",
        "aws_access_key_id": KEY,
        "aws_secret_access_key": KEY,
        "max_retries": 0,
        "base_url": url,
    }
    return ChatBedrockConverse(**{**fields, **more, **settings})


def _cohere(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_cohere import ChatCohere

    model = "command-a-reasoning-08-2025" if thinking else "command-a-03-2025"
    return ChatCohere(**{"model": model, "cohere_api_key": KEY, "base_url": url, **settings})


def _deepseek(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_deepseek import ChatDeepSeek

    more = {"extra_body": {"thinking": {"type": "enabled"}}} if thinking else {}
    return ChatDeepSeek(**{**_openai_fields("deepseek-chat", url), **more, **settings})


def _fireworks(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_fireworks import ChatFireworks

    more = {"reasoning_effort": "low"} if thinking else {}
    model = "accounts/fireworks/models/glm-5p2"
    return ChatFireworks(**{"model": model, "api_key": KEY, "base_url": url, "max_retries": 0, **more, **settings})


def _gemini(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_google_genai import ChatGoogleGenerativeAI

    more = {"include_thoughts": True} if thinking else {}
    fields = {"model": "gemini-3.5-flash", "api_key": KEY, "base_url": url, "max_retries": 1}
    return ChatGoogleGenerativeAI(**{**fields, **more, **settings})


def _groq(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_groq import ChatGroq

    more = {"reasoning_format": "raw"} if thinking else {}
    return ChatGroq(**{"model": "qwen/qwen3-32b", "api_key": KEY, "base_url": url, "max_retries": 0, **more, **settings})


def _mistral(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_mistralai import ChatMistralAI

    model = "magistral-medium-2509" if thinking else "mistral-large-2512"
    return ChatMistralAI(**{"model": model, "api_key": KEY, "base_url": f"{url}/v1", "max_retries": 0, **settings})


def _ollama(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_ollama import ChatOllama

    more = {"reasoning": True} if thinking else {}
    return ChatOllama(**{"model": "qwen3:8b", "base_url": url, **more, **settings})


def _openai(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    more = {"reasoning_effort": "low"} if thinking else {}
    model = "gpt-5.5" if thinking else "gpt-4.1"
    return ChatOpenAI(**{**_openai_fields(model, url), "use_responses_api": False, **more, **settings})


def _openrouter(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    more = {"extra_body": {"reasoning": {"enabled": True}}} if thinking else {}
    return ChatOpenAI(**{**_openai_fields("qwen/qwen3-max", url), **more, **settings})


def _responses(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    reasoning = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"], "store": False}
    model = "gpt-6.1-sol" if thinking else "gpt-4.1-mini"
    fields = _openai_fields(model, url)
    return ChatOpenAI(**{**fields, "use_responses_api": True, **(reasoning if thinking else {}), **settings})


def _together(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_together import ChatTogether

    more = {"extra_body": {"chat_template_kwargs": {"thinking": True}}} if thinking else {}
    return ChatTogether(**{**_openai_fields("zai-org/GLM-5.3", url), **more, **settings})


def _xai(url: str, thinking: bool, settings: dict[str, Any]) -> BaseChatModel:
    from langchain_xai import ChatXAI

    more = {"extra_body": {"reasoning_effort": "low"}} if thinking else {}
    return ChatXAI(**{**_openai_fields("grok-3-mini", url), **more, **settings})


def _openai_fields(model: str, url: str) -> dict[str, Any]:
    return {"model": model, "api_key": KEY, "base_url": f"{url}/v1", "max_retries": 0, "stream_usage": True}


_MAKERS: dict[str, Callable[[str, bool, dict[str, Any]], BaseChatModel]] = {
    "anthropic": _anthropic,
    "bedrock": _bedrock,
    "cohere": _cohere,
    "deepseek": _deepseek,
    "fireworks": _fireworks,
    "gemini": _gemini,
    "groq": _groq,
    "mistral": _mistral,
    "ollama": _ollama,
    "openai": _openai,
    "openrouter": _openrouter,
    "responses": _responses,
    "together": _together,
    "xai": _xai,
}
PROVIDERS = tuple(_MAKERS)
"""The providers that `member` supports, by the names of their protocols."""
