"""Mixtures of each provider with each other provider over three turns: what "works with a provider" means.

By default every pair of options is in some case; with `LANGCHAIN_MOA_MATRIX=full` every combination.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
from allpairspy import AllPairs

from langchain_moa import ChatMoA
from tests.integration_tests.providers.test_protocols import SPLITS_STREAMED_TOOL_CALLS
from tests.providers import PROVIDERS, member
from tests.providers.asking import MODES
from tests.providers.mixing import converse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.providers import ProviderServer

# Every provider is in one pair, so every aggregator is combined with every provider as a proposer.
PAIRS = (
    ("anthropic", "ollama"),
    ("gemini", "mistral"),
    ("responses", "cohere"),
    ("openai", "bedrock"),
    ("deepseek", "groq"),
    ("xai", "together"),
    ("fireworks", "openrouter"),
)
OPTIONS: tuple[Sequence[Any], ...] = (PROVIDERS, PAIRS, (1, 2), MODES, (False, True), (False, True))


def is_possible(case: Sequence[Any]) -> bool:
    """Skip what a provider's own package does not support; `test_protocols` shows it."""
    if len(case) < 5:
        return True
    aggregator, _, _, mode, tools = case[:5]
    return not (aggregator in SPLITS_STREAMED_TOOL_CALLS and mode == "stream" and tools)


def cases() -> list[Any]:
    """Return the cases with descriptive ids."""
    if os.environ.get("LANGCHAIN_MOA_MATRIX") == "full":
        chosen = list(filter(is_possible, itertools.product(*OPTIONS)))
    else:
        chosen = list(AllPairs([list(values) for values in OPTIONS], filter_func=is_possible))
    made = []
    for aggregator, pair, layers, mode, tools, thinking in chosen:
        options = (str(layers), mode, "tools" if tools else "text", "thinking" if thinking else "plain")
        name = "-".join((f"{aggregator}<{'+'.join(pair)}", *options))
        made.append(pytest.param(aggregator, pair, layers, mode, tools, thinking, id=name))
    return made


def test_every_provider_is_a_proposer() -> None:
    assert sorted(itertools.chain(*PAIRS)) == sorted(PROVIDERS)


@pytest.mark.parametrize(("aggregator", "pair", "layers", "mode", "tools", "thinking"), cases())
async def test_three_turns(
    providers: ProviderServer, aggregator: str, pair: tuple[str, str], layers: int, mode: str, tools: bool, thinking: bool
) -> None:
    moa = ChatMoA(
        proposers=[member(providers, provider, thinking=thinking) for provider in pair],
        aggregator=member(providers, aggregator, thinking=thinking),
        num_layers=layers,
    )
    _, problems = await converse(moa, providers, turns=3, mode=mode, tools=tools)
    assert not problems, "\n".join(problems)
