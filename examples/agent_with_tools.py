"""An agent whose model is a mixture: the proposers advise, and the aggregator calls the tools."""

from __future__ import annotations

import sys
from typing import Any

from _models import AGGREGATOR, OPTIONS, PROPOSERS
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage

from langchain_moa import ChatMoA

if AGGREGATOR.startswith("local:"):
    print("The local models cannot call tools, so this example needs a key. Set one and run it again:")
    print("  export TOGETHER_API_KEY=...   or   export OPENAI_API_KEY=...")
    sys.exit()


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


agent = create_agent(
    ChatMoA(proposers=PROPOSERS, aggregator=AGGREGATOR, num_layers=1, **OPTIONS),
    tools=[add, multiply],
    system_prompt="Use the tools for every calculation.",
)

question = "Add 17 and 25."
print(f"Question: {question}")
messages = []
done = 0
stream: Any = agent.stream({"messages": [HumanMessage(question)]}, stream_mode=["custom", "updates"])
for mode, data in stream:
    if mode == "updates":
        messages += [message for update in data.values() for message in update["messages"]]
        for call in getattr(messages[-1], "tool_calls", []):
            print(f"  calls {call['name']} with {call['args']}")
        if messages[-1].type == "tool":
            print(f"  {messages[-1].name} returns {messages[-1].text}")
    elif data["moa"] == "proposed":
        done += 1
        print(f"  {done}/{data['proposers']} proposers done")
    elif data["moa"] == "merged":
        done = 0
print(f"Answer: {messages[-1].text}")
