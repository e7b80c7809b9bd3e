"""openai-agents by both APIs: a tool loop, whole and streamed; a tool and a schema, progress, small tasks, failures."""

import asyncio
import os
from collections.abc import Awaitable
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel


@function_tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"{city}: sunny"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


async def events_of(run: Any) -> None:
    async for _ in run.stream_events():
        pass


async def fails(asking: Awaitable[Any]) -> bool:
    try:
        await asking
    except Exception:  # noqa: BLE001  # each API has its own error
        return True
    return False


async def main() -> None:
    set_tracing_disabled(disabled=True)
    client = AsyncOpenAI(base_url=os.environ["MOA_URL"], api_key="none", max_retries=0)
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        agent = Agent("a", instructions="Use tools.", model=kind(model="moa", openai_client=client), tools=[get_weather])
        assert "sunny" in (await Runner.run(agent, "get_weather for Rome")).final_output
        run = Runner.run_streamed(agent, "get_weather for Oslo")
        await events_of(run)
        assert "sunny" in run.final_output

        strict = Agent("a", model=kind(model="moa", openai_client=client), tools=[get_weather], output_type=Person)
        assert (await Runner.run(strict, "get_weather, Ann is 41")).final_output.age == 41

        settings = ModelSettings(extra_headers={"x-moa-progress": "reasoning"})
        plain = Agent("a", model=kind(model="moa", openai_client=client), model_settings=settings)
        run = Runner.run_streamed(plain, "Hi")
        seen = [str(event) async for event in run.stream_events()]
        assert any("asking 2 models" in event for event in seen)

        alone = Agent("a", model=kind(model="moa#aggregator", openai_client=client))
        assert (await Runner.run(alone, "Hi")).final_output == "moa says: Hi"

        # With the package's own retries.
        retrying = AsyncOpenAI(base_url=os.environ["MOA_URL"], api_key="none")
        for name in ("wrong-key", "broken"):
            failing = Agent("a", model=kind(model=name, openai_client=retrying))
            assert await fails(Runner.run(failing, f"{kind.__name__} whole"))
            assert await fails(events_of(Runner.run_streamed(failing, f"{kind.__name__} streamed")))


asyncio.run(main())
