"""Recorded answers of real models: GSM8K with exact answers, AlpacaEval with published judgments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_moa import Proposer, create_moa
from langchain_moa.strategies.extract import number
from langchain_moa.testing import ReplayChatModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Pool:
    """Questions, the models' answers, and the score of each answer, from 0 to 1."""

    name: str
    measure: str
    texts: dict[str, dict[str, str]]
    scores: dict[str, dict[str, float]]

    @property
    def models(self) -> list[str]:
        return list(next(iter(self.texts.values())))

    def single(self, model: str) -> list[float]:
        return [scores[model] for scores in self.scores.values()]

    @property
    def best(self) -> str:
        return max(self.models, key=lambda model: sum(self.single(model)))

    def best_first(self) -> list[str]:
        return sorted(self.models, key=lambda model: -sum(self.single(model)))

    def proposer(self, model: str) -> Proposer:
        """Return a proposer that replays a model's recorded answers."""
        answers = {question: texts[model] for question, texts in self.texts.items()}
        return Proposer(ReplayChatModel(answers=answers, model=model), name=model)

    def ask(self, proposers: Sequence[Any], **mixture: Any) -> list[dict[str, Any]]:
        """Run a mixture on all questions, and return each answer's `response_metadata["moa"]`."""
        layers: Any = [
            [self.proposer(model) for model in each] if isinstance(each, list) else self.proposer(each) for each in proposers
        ]
        options = mixture if isinstance(proposers[0], list) else {"num_layers": 1, **mixture}
        graph = create_moa(layers, **options).compile()
        states = (graph.invoke({"messages": [HumanMessage(question)]}) for question in self.texts)
        return [{**state["messages"][-1].response_metadata["moa"], "merged": state["merged"]} for state in states]

    def scored(self, accounts: Sequence[dict[str, Any]]) -> list[float]:
        """Return the scores of the selected answers, which are those of the recorded answers."""
        chosen = (account["selected"]["name"] for account in accounts)
        return [scores[name] for scores, name in zip(self.scores.values(), chosen, strict=True)]


def gsm8k(folder: Path) -> Pool:
    texts, scores = {}, {}
    for row in _rows(folder / "gsm8k_recorded.jsonl"):
        texts[row["question"]] = row["recorded"]
        right = number(row["answer"])
        scores[row["question"]] = {model: float(number(text) == right) for model, text in row["recorded"].items()}
    return Pool("GSM8K", "accuracy", texts, scores)


def alpaca_eval(folder: Path) -> Pool:
    texts, scores = {}, {}
    for row in _rows(folder / "alpaca_eval_recorded.jsonl"):
        texts[row["instruction"]] = {model: answer["output"] for model, answer in row["recorded"].items()}
        scores[row["instruction"]] = {model: answer["preference"] for model, answer in row["recorded"].items()}
    return Pool("AlpacaEval 2.0", "win rate", texts, scores)


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
