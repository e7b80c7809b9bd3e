"""An agent with its own model that consults a mixture through a tool: one call for easy questions, a mixture for hard ones."""

from __future__ import annotations

import sys

from _models import AGGREGATOR, OPTIONS, PROPOSERS
from langchain.agents import create_agent
from langchain.tools import tool
from langchain_core.messages import HumanMessage

from langchain_moa import ChatMoA

if AGGREGATOR.startswith("local:"):
    print("The local models cannot call tools, so this example needs a key. Set one and run it again:")
    print("  export TOGETHER_API_KEY=...   or   export OPENAI_API_KEY=...")
    sys.exit()

experts = ChatMoA(proposers=PROPOSERS, aggregator=AGGREGATOR, num_layers=1, **OPTIONS)


@tool
def consult(question: str) -> str:
    """Consult several experts on one hard question. State everything they need to know: they do not see this conversation."""
    answer = experts.invoke(question)
    print(f"  consulted: {answer.response_metadata['moa']['calls']} calls")
    return answer.text


agent = create_agent(
    AGGREGATOR,
    tools=[consult],
    system_prompt="Answer easy questions yourself. Consult the experts on hard ones.",
)

for question in ("Say hello.", "Consult the experts: why is the sky blue?"):
    print(f"Question: {question}")
    messages = agent.invoke({"messages": [HumanMessage(question)]})["messages"]
    print(f"Answer: {messages[-1].text}\n")
