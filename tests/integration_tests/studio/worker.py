"""A separate process that answers or resumes a thread's question: `worker.py FILE URL [QUESTION]`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import SecretStr

from langchain_moa import create_moa

THREAD: Any = {"configurable": {"thread_id": "1"}}


async def main(file: str, url: str, question: str | None) -> None:
    def chat(model: str) -> ChatOpenAI:
        return ChatOpenAI(model=model, base_url=url, api_key=SecretStr("test"), max_retries=0)

    async with AsyncSqliteSaver.from_conn_string(file) as saver:
        graph = create_moa([chat("p"), chat("q")], chat("agg"), num_layers=2).compile(checkpointer=saver)
        state: Any = None if question is None else {"messages": [("user", question)]}
        result = await graph.ainvoke(state, THREAD)
        print(result["messages"][-1].text)
        print(result["messages"][-1].response_metadata["moa"]["calls"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
