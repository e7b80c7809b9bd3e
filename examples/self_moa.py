"""Self-MoA (arXiv 2502.00674): the same model several times, and once more to make one answer of the samples.

Where one model is clearly the best, this beats mixing it with weaker ones.
"""

from __future__ import annotations

from _models import AGGREGATOR, OPTIONS
from langchain_core.messages import HumanMessage

from langchain_moa import create_moa

QUESTION = "Name a use for an empty glass jar."
SAMPLES = 4

graph = create_moa(proposers=[AGGREGATOR] * SAMPLES, aggregator=AGGREGATOR, num_layers=1, **OPTIONS).compile()
state = graph.invoke({"messages": [HumanMessage(QUESTION)]})

print(f"Question: {QUESTION}")
for reference in state["references"]:
    print(f"\nSample {reference['proposer']} of {SAMPLES}:\n{reference['text'] or reference['error']}")
print(f"\nAnswer, made of the samples:\n{state['messages'][-1].text}")
