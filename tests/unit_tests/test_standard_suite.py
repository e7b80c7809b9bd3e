"""LangChain's own unit suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import SecretStr

from langchain_moa import ChatMoA

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class TestChatMoA(ChatModelUnitTests):
    """A mixture whose members are never called."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMoA

    @property
    def chat_model_params(self) -> dict[str, Any]:
        member = ChatOpenAI(model="gpt-4.1-mini", api_key=SecretStr("test"))
        return {"proposers": [member, member], "aggregator": member}
