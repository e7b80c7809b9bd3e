"""A mixture as a chat model: stream an answer and see what it cost."""

from __future__ import annotations

from _models import AGGREGATOR, OPTIONS, PROPOSERS
from langchain_core.messages import AIMessageChunk

from langchain_moa import ChatMoA

QUESTION = "Why is the sky blue?"

moa = ChatMoA(proposers=PROPOSERS, aggregator=AGGREGATOR, num_layers=1, **OPTIONS)

print(f"Question: {QUESTION}\n\nAnswer: ", end="")
answer = AIMessageChunk(content="")
for chunk in moa.stream(QUESTION):
    print(chunk.text, end="", flush=True)
    answer += chunk

report = answer.response_metadata["moa"]
print(f"\n\nIt took {report['calls']} calls:")
for call in [*report["layers"][0], report["aggregator"]]:
    role = "proposer" if "proposer" in call else "aggregator"
    print(f"  {role:<10}  {call['name']:<40} {call['status']:<6} {call['seconds']:6.1f} s")
if answer.usage_metadata:
    print(f"and {answer.usage_metadata['total_tokens']:,} tokens, those of the proposers included.")
