"""A mixture inside a larger graph: look something up, let the mixture answer, check the answer."""

from __future__ import annotations

from typing import Any, NotRequired

from _models import AGGREGATOR, OPTIONS, PROPOSERS
from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph

from langchain_moa import MoAState, create_moa

ARCHIVE = {"lighthouse": "The lighthouse of Westerhever was built in 1908.", "church": "The church was built in 1370."}


class State(MoAState):
    """The state of a mixture with an additional field."""

    verdict: NotRequired[str]


def look_up(state: State) -> dict[str, Any]:
    question = state["messages"][-1].text
    found = [fact for word, fact in ARCHIVE.items() if word in question]
    return {"messages": [HumanMessage(f"Use this: {' '.join(found)}")]}


def check(state: State) -> dict[str, Any]:
    drafts = sum(reference["status"] == "ok" for reference in state["references"])
    has_year = "1908" in state["messages"][-1].text
    return {"verdict": f"from {drafts} references; the year is {'correct' if has_year else 'missing'}"}


mixture = create_moa(PROPOSERS, AGGREGATOR, num_layers=1, **OPTIONS).compile()

builder = StateGraph(State)
builder.add_node("look_up", look_up)
builder.add_node("mixture", mixture)
builder.add_node("check", check)
builder.add_edge(START, "look_up")
builder.add_edge("look_up", "mixture")
builder.add_edge("mixture", "check")
graph = builder.compile()

question = "When was the lighthouse of Westerhever built?"
state = graph.invoke({"messages": [HumanMessage(question)]})

print(f"Question: {question}")
print(f"Answer: {state['messages'][-1].text}")
print(f"Check: {state['verdict']}")
