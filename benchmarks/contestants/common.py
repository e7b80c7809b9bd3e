"""The paper's prompt, for contestants without a prompt of their own."""

from __future__ import annotations

PROPOSERS = ["one", "two", "three"]
AGGREGATOR = "aggregator"
LAYERS = 2

PROMPT = (
    "You have been provided with a set of responses from various open-source models to the latest user query. Your task is to "
    "synthesize these responses into a single, high-quality response. It is crucial to critically evaluate the information "
    "provided in these responses, recognizing that some of it may be biased or incorrect. Your response should not simply "
    "replicate the given answers but should offer a refined, accurate, and comprehensive reply to the instruction. Ensure your "
    "response is well-structured, coherent, and adheres to the highest standards of accuracy and reliability.\n\n"
    "Responses from models:"
)


def system_with(references: list[str], system: str) -> str:
    shown = PROMPT + "".join(f"\n{number}. {text}" for number, text in enumerate(references, start=1)) if references else ""
    return "\n\n".join(part for part in (system, shown) if part)
