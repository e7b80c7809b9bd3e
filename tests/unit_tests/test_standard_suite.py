"""LangChain's own unit suite."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_moa import ChatMoA


class TestChatMoA(ChatModelUnitTests):
    """A mixture whose members are never called."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        member = ChatOpenAI(model="gpt-4.1-mini", api_key="test")
        return {"proposers": [member, member], "aggregator": member}
