"""openai-agents by both APIs: a tool loop, whole and streamed."""

import asyncio
import os

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI


@function_tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"{city}: sunny"


async def main() -> None:
    set_tracing_disabled(disabled=True)
    client = AsyncOpenAI(base_url=os.environ["MOA_URL"], api_key="none", max_retries=0)
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        agent = Agent("a", instructions="Use tools.", model=kind(model="moa", openai_client=client), tools=[get_weather])
        assert "sunny" in (await Runner.run(agent, "get_weather for Rome")).final_output
        run = Runner.run_streamed(agent, "get_weather for Oslo")
        async for _ in run.stream_events():
            pass
        assert "sunny" in run.final_output


asyncio.run(main())
