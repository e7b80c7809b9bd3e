"""pydantic-ai by both APIs: an answer, a stream, a tool loop, a schema."""

import asyncio
import os

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    """A person."""

    name: str
    age: int


async def main() -> None:
    provider = OpenAIProvider(openai_client=AsyncOpenAI(base_url=os.environ["MOA_URL"], api_key="none", max_retries=0))
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        model = kind("moa", provider=provider)
        assert (await Agent(model).run("Hi")).output == "agg says: Hi"
        async with Agent(model).run_stream("Hi") as stream:
            assert [text async for text in stream.stream_text()][-1] == "agg says: Hi"
        agent = Agent(model, instructions="Use tools.")

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """Return the weather in a city."""
            return f"{city}: sunny"

        assert "sunny" in (await agent.run("get_weather for Rome")).output
        person = (await Agent(model, output_type=Person).run("Ann is 41")).output
        assert isinstance(person, Person)


asyncio.run(main())
