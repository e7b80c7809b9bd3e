"""Strategies that call a model, measured with the two local models on sums with exact answers."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from statistics import fmean
from time import perf_counter
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from rich.progress import track
from rich.table import Table

from langchain_moa import Proposer, create_moa
from langchain_moa.evaluation.significance import bootstrap_interval
from langchain_moa.local import ChatLocal
from langchain_moa.strategies.extract import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

_PROPOSERS = ("smollm2-135m", "gemma3-270m", "smollm2-135m")
_AGGREGATOR = "smollm2-135m"

# Token limits: an answer is a number; a verdict may be JSON or a ranking.
_ANSWER, _VERDICT = 16, 96

# Steps of a strategy that are not decisions, of which there may be several.
_DRAFTS = {"running synthesis"}

# The paper's instruction is for models a thousand times larger; these two comment on it instead of following it.
_PROMPT = "Answer the question with one number, using what is right in these answers."

STRATEGIES: dict[str, dict[str, Any]] = {
    "vote": {"aggregation": {"vote": {"extract": "number"}}},
    "medoid": {"aggregation": "medoid"},
    "synthesize": {"aggregation": "synthesize"},
    "select": {"aggregation": "select"},
    "consistent": {"aggregation": "consistent"},
    "sequential": {"aggregation": {"sequential": {"window": 2}}},
    "analyze": {"aggregation": "analyze"},
    "rank": {"aggregation": "rank"},
    "judge": {"reference_filters": ["judge"]},
    "moderator": {"reference_filters": ["moderator"]},
    "two layers": {"num_layers": 2},
    "three layers, residual": {"num_layers": 3, "stop_when": "residual"},
}


def measure(*, questions: int, seeds: int, only: list[str] | None = None) -> Table:
    """Run all strategies, and return the table.

    The proposers' samples are drawn once for each question and seed, so that all strategies use the same answers.
    """
    asked = sums(questions)
    names = [name for name in STRATEGIES if name in (only or STRATEGIES)]
    right: dict[str, list[list[float]]] = {}
    calls, again, fallbacks = (dict.fromkeys(names, 0) for _ in range(3))
    began = perf_counter()
    for seed in range(1, seeds + 1):
        samples = _samples(list(asked), seed)
        for place, model in enumerate(_PROPOSERS):
            _add(
                right,
                f"proposer {place + 1}, {model}",
                [float(number(texts[place]) == asked[q]) for q, texts in samples.items()],
            )
        _add(
            right,
            "a random pick (expected)",
            [fmean(number(text) == asked[q] for text in texts) for q, texts in samples.items()],
        )
        _add(
            right, "oracle: any right", [float(any(number(text) == asked[q] for text in texts)) for q, texts in samples.items()]
        )
        for name in names:
            answers = _run(samples, seed, STRATEGIES[name], f"seed {seed}, {name}")
            _add(right, name, [float(number(text) == asked[q]) for q, (text, _) in answers.items()])
            calls[name] += sum(moa["calls"] - len(_PROPOSERS) for _, moa in answers.values())
            again[name] += sum(_asked_again(moa) for _, moa in answers.values())
            fallbacks[name] += sum("fallback" in moa.get("selected", {}) for _, moa in answers.values())
    by_question = {name: [fmean(values) for values in zip(*runs, strict=True)] for name, runs in right.items()}
    singles = [name for name in by_question if name.startswith("proposer")]
    best = max(singles, key=lambda name: fmean(by_question[name]))
    titles = ("strategy", "accuracy", f"against {best}", "further calls a question", "asked again", "chose by fallback")
    table = Table(*titles, title=f"{questions} sums, {seeds} seeds, local models")
    total = questions * seeds
    for name, values in by_question.items():
        low, high = bootstrap_interval([value - base for value, base in zip(values, by_question[best], strict=True)])
        difference = fmean(values) - fmean(by_question[best])
        against = "" if name == best else f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        shares = (f"{counted[name] / total:.0%}" for counted in (again, fallbacks) if name in calls)
        counts = (f"{calls[name] / total:.2f}", *shares) if name in calls else ()
        table.add_row(name, f"{fmean(values):.1%}", against, *counts)
    table.caption = f"95% paired bootstrap interval over questions; {perf_counter() - began:.0f} s"
    return table


def sums(count: int) -> dict[str, str]:
    """Return questions and answers: sums of one-digit and two-digit numbers, always the same ones."""
    pairs = list(product(range(2, 20), range(2, 10)))
    random.Random(0).shuffle(pairs)  # noqa: S311  # an order, not a secret
    if count > len(pairs):
        msg = f"questions: {count} are too many; there are {len(pairs)}"
        raise SystemExit(msg)
    return {f"What is {a} + {b}? Answer with the number alone.": str(a + b) for a, b in pairs[:count]}


def _samples(questions: list[str], seed: int) -> dict[str, list[str]]:
    models = [
        ChatLocal(model=model, seed=100 * seed + place, max_tokens=_ANSWER, temperature=0.4)
        for place, model in enumerate(_PROPOSERS)
    ]

    def answer(question: str) -> list[str]:
        return [model.invoke(question).text for model in models]

    return dict(zip(questions, _each(answer, questions, f"seed {seed}, proposers"), strict=True))


def _run(samples: dict[str, list[str]], seed: int, strategy: dict[str, Any], title: str) -> dict[str, tuple[str, Any]]:
    def model(name: str, seed: int) -> ChatLocal:
        return ChatLocal(model=name, seed=seed, max_tokens=_VERDICT, temperature=0.4)

    def proposer(place: int, name: str) -> Proposer:
        asked = model(name, 100 * seed + place)

        def answer(messages: list[BaseMessage]) -> Any:
            question = messages[-1].text
            if question not in samples:
                return asked.invoke(messages)  # a ranking
            return samples[question][place] if len(messages) == 1 else asked.invoke(messages, max_tokens=_ANSWER)

        return Proposer(RunnableLambda(answer), name=f"proposer {place + 1}")

    proposers = [proposer(place, name) for place, name in enumerate(_PROPOSERS)]
    options = {"num_layers": 1, "prompt": _PROMPT, "max_tokens": _ANSWER, **strategy}
    graph = create_moa(proposers, model(_AGGREGATOR, seed), **options).compile()

    def answer(question: str) -> tuple[str, Any]:
        message = graph.invoke({"messages": [HumanMessage(question)]})["messages"][-1]
        return message.text, message.response_metadata["moa"]

    return dict(zip(samples, _each(answer, list(samples), title), strict=True))


def _asked_again(moa: dict[str, Any]) -> bool:
    """Return whether any decision was requested twice because the first reply could not be parsed."""
    asked = Counter((step["node"], step["name"]) for step in moa.get("steps", ()) if step["name"] not in _DRAFTS)
    return any(times > 1 for times in asked.values())


def _each(answer: Callable[[str], Any], questions: list[str], title: str) -> list[Any]:
    # Two at a time, one per core.
    batches = [questions[place : place + 2] for place in range(0, len(questions), 2)]
    runnable = RunnableLambda(answer)
    return [each for batch in track(batches, title) for each in runnable.batch(batch)]


def _add(right: dict[str, list[list[float]]], name: str, values: list[float]) -> None:
    right.setdefault(name, []).append(values)
