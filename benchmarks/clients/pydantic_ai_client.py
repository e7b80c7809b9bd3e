"""pydantic-ai by both APIs: whole, streamed, a tool loop, a schema, a tool and a schema, progress, small tasks, failures."""

import asyncio
import os
from collections.abc import Awaitable
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    """A person."""

    name: str
    age: int


async def streamed(agent: Agent, question: str) -> None:
    async with agent.run_stream(question) as stream:
        await stream.get_output()


async def fails(asking: Awaitable[Any]) -> bool:
    try:
        await asking
    except Exception:  # noqa: BLE001  # each API has its own error
        return True
    return False


async def main() -> None:
    provider = OpenAIProvider(openai_client=AsyncOpenAI(base_url=os.environ["MOA_URL"], api_key="none", max_retries=0))
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        model = kind("moa", provider=provider)
        assert (await Agent(model).run("Hi")).output == "moa says: Hi"
        async with Agent(model).run_stream("Hi") as stream:
            assert [text async for text in stream.stream_text()][-1] == "moa says: Hi"
        agent = Agent(model, instructions="Use tools.")

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """Return the weather in a city."""
            return f"{city}: sunny"

        assert "sunny" in (await agent.run("get_weather for Rome")).output
        person = (await Agent(model, output_type=Person).run("Ann is 41")).output
        assert isinstance(person, Person)
        strict = Agent(model, output_type=NativeOutput(Person))
        strict.tool_plain(get_weather)
        assert (await strict.run("get_weather, Ann is 41")).output.age == 41

        settings: Any = {"extra_headers": {"x-moa-progress": "reasoning"}}
        async with Agent(model).run_stream("Hi", model_settings=settings) as stream:
            await stream.get_output()
            assert "asking 2 models" in str(stream.all_messages())

        assert (await Agent(kind("moa#aggregator", provider=provider)).run("Hi")).output == "moa says: Hi"

        # With the package's own retries.
        retrying = OpenAIProvider(openai_client=AsyncOpenAI(base_url=os.environ["MOA_URL"], api_key="none"))
        for name in ("wrong-key", "broken"):
            failing = Agent(kind(name, provider=retrying))
            assert await fails(failing.run(f"{kind.__name__} whole"))
            assert await fails(streamed(failing, f"{kind.__name__} streamed"))


asyncio.run(main())
