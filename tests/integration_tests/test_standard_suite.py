"""LangChain's own integration suite: a mixture passes what the aggregator's class passes, without an xfail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_moa import ChatMoA
from tests.capable import Capable
from tests.loopback.fixtures import AbleServed

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class TestChatMoA(Capable, AbleServed, ChatModelIntegrationTests):
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
