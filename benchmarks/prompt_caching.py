"""Prompt caches: how much of each prompt the provider has seen before, and what that saves, with references in either place.

    python -m benchmarks.prompt_caching

A mixture of three proposers in two layers and an aggregator holds a conversation of six turns and works through a task of five
steps with a tool; so does the aggregator's model alone. A server on this machine records every request, so no key is needed and
nothing is paid. The figures are the same in every run.

Seen before is what a provider's cache can find: the longest beginning that a prompt shares with an earlier prompt to the same
model. The messages are compared as JSON, and a token is counted as four characters. The dollars are those of all calls, with
the prices of `genai-prices`; a beginning is paid at the cached rate from 1,024 tokens on, in steps of 128 tokens.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import genai_prices
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from langchain_moa import ChatMoA
from tests.loopback import Loopback, Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.language_models import BaseChatModel

    from langchain_moa.prompting.place import ReferencesAt

PROPOSERS = ("one", "two", "three")
AGGREGATOR = "aggregator"
TURNS = 6
STEPS = 5
PRICES = (("openai", "gpt-6.1-sol"), ("google", "gemini-3.5-flash"), ("deepseek", "deepseek-chat"))

# Sizes in characters: instructions, a question with context, an answer, a tool's result, a proposal for a step.
SYSTEM, QUESTION, ANSWER, RESULT, PROPOSAL = 6000, 800, 1200, 6000, 400

_LEAST, _STEP, _CHARACTERS = 1024, 128, 4


@dataclass(frozen=True)
class Seen:
    """The prompts and answers of a task, as seen by the server.

    Attributes:
        prompts: The length of each prompt in characters.
        shared: The length of each prompt's longest common prefix with an earlier prompt to the same model.
        answers: The length of each answer in characters.
        first: The number of prompts of the first turn, which have nothing to share.
    """

    prompts: list[int]
    shared: list[int]
    answers: list[int]
    first: int

    @property
    def share(self) -> float:
        """The share of the prompts that is a common prefix, from the second turn or step on."""
        return sum(self.shared[self.first :]) / sum(self.prompts[self.first :])

    def cost_usd(self, provider: str, model: str) -> float:
        """Return the cost of all calls at a model's prices in US dollars."""
        cached = [self._cached(each) for each in self.shared]
        tokens = genai_prices.Usage(
            input_tokens=sum(each // _CHARACTERS for each in self.prompts),
            output_tokens=sum(each // _CHARACTERS for each in self.answers),
            cache_read_tokens=sum(cached),
        )
        return float(genai_prices.calc_price(tokens, model_ref=model, provider_id=provider).total_price)

    def _cached(self, characters: int) -> int:
        tokens = characters // _CHARACTERS
        return tokens // _STEP * _STEP if tokens >= _LEAST else 0


@tool
def look_up(page: int) -> str:
    """Look a page up."""
    return words(f"page {page}", RESULT)


@cache
def words(of: str, characters: int) -> str:
    """Return a text of random words, which depends only on the seed."""
    drawn = random.Random(of)  # noqa: S311  # a text, not a secret
    text = " ".join("".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(2, 9))) for _ in range(characters // 4))
    return text[:characters]


def conversation(model: BaseChatModel) -> None:
    """Run a conversation of six turns."""
    history: list[BaseMessage] = [SystemMessage(words("system", SYSTEM))]
    for turn in range(TURNS):
        history.append(HumanMessage(words(f"question {turn}", QUESTION)))
        history.append(AIMessage(model.invoke(history).text))


def agent(model: BaseChatModel) -> None:
    """Run a task of five steps, of which the last is the answer."""
    bound = model.bind_tools([look_up])
    history: list[BaseMessage] = [SystemMessage(words("system", SYSTEM)), HumanMessage(words("task", QUESTION))]
    for _ in range(STEPS):
        answer = bound.invoke(history)
        history += [answer, *(look_up.invoke(call) for call in answer.tool_calls)]


def _next_step(body: dict[str, Any]) -> Reply:
    step = sum(message["role"] == "tool" for message in body["messages"])
    if step == STEPS - 1:
        return Reply(words("the answer", ANSWER))
    return Reply("", tool_calls=[ToolCall("look_up", {"page": step}, id=f"call_{step}")])


TASKS: dict[str, tuple[Callable[[Any], None], int]] = {
    f"conversation of {TURNS} turns": (conversation, ANSWER),
    f"agent of {STEPS} steps": (agent, PROPOSAL),
}


def seen(task: str, *, at: ReferencesAt | None, prompt: str = "paper", only: str | None = None) -> Seen:
    """Run a task and return its prompts and answers as seen by the server.

    Args:
        task: One of `TASKS`.
        at: The place of the references, or `None` for the aggregator's model without a mixture.
        prompt: The mixture's prompt.
        only: Count only the calls of this model. Default: all.
    """
    run, size = TASKS[task]
    with Loopback() as server:
        for name in PROPOSERS:
            server.script(name, _texts(name, size))
        server.script(AGGREGATOR, _next_step if run is agent else _texts(AGGREGATOR, ANSWER))
        aggregator = server.chat(AGGREGATOR)
        model: Any = aggregator
        if at is not None:
            proposers = [server.chat(name) for name in PROPOSERS]
            model = ChatMoA(proposers=proposers, aggregator=aggregator, num_layers=2, references_at=at, prompt=prompt)
        run(model)
        calls = [(each.model, json.dumps(each.messages)) for each in server.requests if only in (None, each.model)]
    rounds = TURNS if run is conversation else STEPS
    answers = [ANSWER if model == AGGREGATOR and run is conversation else size for model, _ in calls]
    return Seen([len(text) for _, text in calls], _shared(calls), answers, len(calls) // rounds)


def _texts(name: str, size: int) -> Callable[[dict[str, Any]], str]:
    # The text depends on the request, so that the order of requests makes no difference.
    return lambda body: words(f"{name} {_constant(body['messages'])}", size)


def _constant(messages: Sequence[dict[str, Any]]) -> str:
    return f"{len(messages)} {'Responses from models:' in json.dumps(messages)}"


def _shared(calls: Sequence[tuple[str, str]]) -> list[int]:
    """Return the length of each prompt's longest common prefix with an earlier prompt to the same model."""
    return [
        max((_common(text, other) for name, other in calls[:place] if name == model), default=0)
        for place, (model, text) in enumerate(calls)
    ]


def _common(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def main() -> None:
    """Print the tables."""
    kinds: list[tuple[str, ReferencesAt]] = [(prompt, at) for prompt in ("paper", "hardened") for at in ("system", "end")]
    print(f"| Cached share of each prompt | alone | {' | '.join(f'`{prompt}`, `{at}`' for prompt, at in kinds)} |")
    print("| --- |" + " --: |" * (1 + len(kinds)))
    for task in TASKS:
        alone = seen(task, at=None).share
        for only, whose in ((None, "all calls"), (AGGREGATOR, "the aggregator's calls")):
            row = [seen(task, at=at, prompt=prompt, only=only).share for prompt, at in kinds]
            cells = [f"{alone:.0%}", *(f"{each:.0%} ({each / alone:.2f})" for each in row)]
            print(f"| {task}, {whose} | {' | '.join(cells)} |")
    print()
    print("| Dollars for 1,000 | prices of | `system` | `end` | saved |")
    print("| --- | --- | --: | --: | --: |")
    for task in TASKS:
        system, end = seen(task, at="system"), seen(task, at="end")
        for provider, model in PRICES:
            before, after = (each.cost_usd(provider, model) * 1000 for each in (system, end))
            print(f"| {task} | {provider}:{model} | {before:.2f} | {after:.2f} | {1 - after / before:.0%} |")


if __name__ == "__main__":
    main()
