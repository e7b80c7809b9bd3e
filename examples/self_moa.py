"""Self-MoA (arXiv 2502.00674): several samples of one model, and one answer that the same model writes from them.

If one model is clearly the best, this is better than mixing it with weaker ones. The samples use different temperatures and
seeds. Do not set a temperature for all calls: then only the seeds would differ.
"""

from __future__ import annotations

from _models import AGGREGATOR, OPTIONS
from langchain_core.messages import HumanMessage

from langchain_moa import Mixture, create_moa

QUESTION = "Name a use for an empty glass jar."
SAMPLES = 4

options = {name: value for name, value in OPTIONS.items() if name != "temperature"}
graph = create_moa(Mixture.self_moa(AGGREGATOR, samples=SAMPLES, **options)).compile()
state = graph.invoke({"messages": [HumanMessage(QUESTION)]})

print(f"Question: {QUESTION}")
for reference in state["references"]:
    print(f"\nSample {reference['proposer']} of {SAMPLES}:\n{reference['text'] or reference['error']}")
print(f"\nAnswer from the samples:\n{state['messages'][-1].text}")
