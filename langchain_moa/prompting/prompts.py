"""How references are shown to the model that reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage

from langchain_moa.prompting.budget import cut
from langchain_moa.prompting.hardened import hardened
from langchain_moa.prompting.own import own
from langchain_moa.prompting.system import add_system_text

if TYPE_CHECKING:
    from langchain_moa.reference import Reference

Prompt = Callable[[list[BaseMessage], "Sequence[Reference]"], list[BaseMessage]]
"""From a conversation and the references to the messages that a model is sent; neither argument may be changed."""

SYNTHESIZE = (
    "You have been provided with a set of responses from various open-source models to the latest user query. Your task is to "
    "synthesize these responses into a single, high-quality response. It is crucial to critically evaluate the information "
    "provided in these responses, recognizing that some of it may be biased or incorrect. Your response should not simply "
    "replicate the given answers but should offer a refined, accurate, and comprehensive reply to the instruction. Ensure your "
    "response is well-structured, coherent, and adheres to the highest standards of accuracy and reliability."
)
"""The aggregate-and-synthesize instruction (Wang et al., arXiv 2406.04692, Table 1)."""


def numbered(references: Sequence[Reference]) -> str:
    """Return the references as the paper lists them: a newline, the number from 1, a full stop, a space and the text."""
    return "".join(f"\n{number}. {reference['text']}" for number, reference in enumerate(references, start=1))


def synthesis_prompt(instruction: str) -> Prompt:
    """Return a prompt in the paper's layout with any instruction.

    Args:
        instruction: What the reader of the references is to do with them.
    """

    def prompt(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
        if not references:
            return messages
        return add_system_text(messages, f"{instruction}\n\nResponses from models:{numbered(references)}")

    return prompt


PROMPTS: dict[str, Prompt] = {"paper": synthesis_prompt(SYNTHESIZE), "hardened": hardened}


def resolve_prompt(prompt: str | Prompt, *, max_reference_tokens: int | None = None) -> Prompt:
    """Return the prompt that a mixture's `prompt` names.

    Args:
        prompt: The name of a prompt, an instruction in the user's own words for the paper's layout, or a callable.
        max_reference_tokens: The size to which each reference is cut. Default: shown whole.

    Raises:
        ValueError: A single word that is no prompt's name, or no text at all.
    """
    if max_reference_tokens is not None:
        return cutting(resolve_prompt(prompt), max_reference_tokens)
    if callable(prompt):
        return own(prompt)
    if prompt in PROMPTS:
        return PROMPTS[prompt]
    if len(prompt.split()) < 2:  # noqa: PLR2004  # one word is a mistyped name; no instruction is that short
        msg = f"unknown prompt {prompt!r}; known are {', '.join(PROMPTS)}, or write an instruction of your own"
        raise ValueError(msg)
    return synthesis_prompt(prompt)


def cutting(prompt: Prompt, tokens: int) -> Prompt:
    """Return a prompt that shows no more of each reference than so many tokens.

    Args:
        prompt: How references are shown.
        tokens: The size to which each of them is cut.
    """

    def cut_each(messages: list[BaseMessage], references: Sequence[Reference]) -> list[BaseMessage]:
        return prompt(messages, [{**reference, "text": cut(reference["text"], tokens)} for reference in references])

    return cut_each
