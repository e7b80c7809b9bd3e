"""A graph with different models and roles in each layer, and the references in its state."""

from __future__ import annotations

from _models import AGGREGATOR, OPTIONS, PROPOSERS
from langchain_core.messages import HumanMessage

from langchain_moa import Proposer, create_moa

QUESTION = "Should a small team write its own database?"

first, second = PROPOSERS

# The paper also counts the aggregator as a layer, so in its terms this mixture has three layers.
graph = create_moa(
    proposers=[
        [
            Proposer(first, name="optimist", system_prompt="Say what speaks for it, in two sentences."),
            Proposer(second, name="sceptic", system_prompt="Say what speaks against it, in two sentences."),
            Proposer(first, name="engineer", system_prompt="Say what it would cost, in two sentences."),
        ],
        [Proposer(first, name="editor", system_prompt="Weigh the answers, in three sentences.")],
    ],
    aggregator=AGGREGATOR,
    **OPTIONS,
).compile()

state = graph.invoke({"messages": [HumanMessage(QUESTION)]})

print(f"Question: {QUESTION}")
for reference in state["references"]:
    print(f"\nLayer {reference['layer']}, {reference['name']} ({reference['model']}):")
    print(reference["text"] or f"no answer: {reference['error']}")
print(f"\nAnswer ({AGGREGATOR}):\n{state['messages'][-1].text}")
