"""LangChain's own integration suite: what the aggregator's class passes, a mixture passes, without an xfail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_moa import ChatMoA
from tests.loopback.fixtures import AbleServed

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class TestChatMoA(AbleServed, ChatModelIntegrationTests):
    """A mixture of two proposers in two layers, every member at the loopback server."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "proposers": [self._member("able"), self._member("able-too")],
            "aggregator": self._member("able"),
        }

    def _member(self, model: str) -> ChatOpenAI:
        return ChatOpenAI(**self.server.settings(model))

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        # The aggregator's: a proposer is asked what it was made for.
        return "able-too"
