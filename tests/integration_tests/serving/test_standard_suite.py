"""LangChain's own integration suite through the endpoint: a client passes what a mixture passes directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_moa import ChatMoA
from tests.capable import Capable
from tests.integration_tests.serving.served import Endpoint, served
from tests.loopback.fixtures import AbleServed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseChatModel


class TestChatOpenAIAtTheEndpoint(Capable, AbleServed, ChatModelIntegrationTests):
    """A mixture of two proposers in two layers behind the endpoint, called with LangChain's OpenAI client."""

    endpoint: Endpoint

    @pytest.fixture(autouse=True)
    def _endpoint(self, _served: None) -> Iterator[None]:
        members = {name: ChatOpenAI(**self.server.settings(name)) for name in ("able", "able-too")}
        moa = ChatMoA(proposers=list(members.values()), aggregator=members["able"])
        with served({"able": moa, "able-too": moa}, link_domains=["raw.githubusercontent.com"]) as self.endpoint:
            yield

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**self.server.settings("able"), "base_url": self.endpoint.url}
