"""The application without a network, with models in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_moa import ChatMoA
from langchain_moa.serving import make_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable


HI = [{"role": "user", "content": "Hi"}]


class Foreign(BaseChatModel):
    """A model of a provider with its own form: tools are `my_tools`, and answers in a schema are tool calls."""

    tools: bool = True

    @property
    def _llm_type(self) -> str:
        return "foreign"

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        tools = kwargs.get("my_tools")
        message = AIMessage(f"answer to {len(messages)} messages")
        if tools and kwargs.get("my_choice"):
            message = AIMessage("", tool_calls=[{"name": tools[0], "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}])
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        if not self.tools:
            raise NotImplementedError
        names = [convert_to_openai_tool(tool)["function"]["name"] for tool in tools]
        return self.bind(my_tools=names, tools=names, my_choice=tool_choice, **kwargs)


def client(app: Any) -> httpx.AsyncClient:
    """Return a client of an application in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def app_of(aggregator: Any = None, **options: Any) -> Any:
    """Return an application with one mixture, `moa`."""
    moa = ChatMoA(proposers=[Foreign()], aggregator=aggregator or Foreign(), num_layers=1)
    return make_app(moa, **options)


async def post(app: Any, **body: Any) -> Any:
    """Send a request for a chat completion."""
    async with client(app) as http:
        return await http.post("/v1/chat/completions", json={"model": "moa", "messages": HI, **body})
