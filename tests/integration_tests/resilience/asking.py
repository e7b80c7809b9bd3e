"""Ask a mixture in each of the four modes."""

from __future__ import annotations

from typing import Any

WAYS = ["invoke", "ainvoke", "stream", "astream"]


async def ask(model: Any, way: str, question: Any = "Hi", config: Any = None) -> Any:
    """Ask, and return the complete answer."""
    match way:
        case "invoke":
            return model.invoke(question, config)
        case "ainvoke":
            return await model.ainvoke(question, config)
        case "stream":
            chunks = list(model.stream(question, config))
        case _:
            chunks = [chunk async for chunk in model.astream(question, config)]
    return sum(chunks[1:], chunks[0])
