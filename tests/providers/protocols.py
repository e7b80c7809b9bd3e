"""The protocols of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.providers.anthropic_messages import AnthropicMessages
from tests.providers.bedrock_converse import BedrockConverse
from tests.providers.cohere_chat import Cohere
from tests.providers.gemini import Gemini
from tests.providers.mistral import Mistral
from tests.providers.ollama_chat import Ollama
from tests.providers.openai_chat import DIALECTS, OpenAIChat
from tests.providers.openai_responses import OpenAIResponses

if TYPE_CHECKING:
    from tests.providers.protocol import Protocol


def make_protocols() -> dict[str, Protocol]:
    """Return a new protocol for each vendor."""
    others = [AnthropicMessages(), BedrockConverse(), Cohere(), Gemini(), Mistral(), Ollama(), OpenAIResponses()]
    return {protocol.vendor: protocol for protocol in [*(OpenAIChat(dialect) for dialect in DIALECTS), *others]}
