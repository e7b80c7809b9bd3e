"""Find the best mixture on recorded answers, selected by a lower bound and evaluated by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_moa.batch.limits import EvaluationError
from langchain_moa.evaluation.policies import KINDS, policies_of, trust_order
from langchain_moa.evaluation.policy_replay import replay, replay_all
from langchain_moa.evaluation.significance import bootstrap_interval, questions_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from langchain_moa.evaluation.answer_table import AnswerTable
    from langchain_moa.evaluation.policies import Kind, Policy

FEWEST_QUESTIONS = 20
"""The minimum number of questions."""

Objective = Literal["accuracy", "price"]

_FOLDS = 5
_REPEATS = 4
_HALF = 0.5

# The number of best models whose agreement is measured.
_BEST = 3
_LEAST = 1e-9


class Judged(NamedTuple):
    """The results of a policy on the questions of the search.

    Attributes:
        policy: The policy.
        gain: The difference of its mean score and that of the best single model.
        bound: The gain minus one standard error.
        score: The mean score.
        calls: The maximum number of calls per answer.
        early: The mean number of calls per answer until the vote is decided.
        cost_usd: The mean cost of these calls per answer in US dollars, or NaN if a price is unknown.
    """

    policy: Policy
    gain: float
    bound: float
    score: float
    calls: float
    early: float
    cost_usd: float


def judged(table: AnswerTable, *, kinds: Sequence[Kind] = KINDS) -> list[Judged]:
    """Return the results of every policy, the best single model first.

    Args:
        table: The answers.
        kinds: The kinds of policies.
    """
    policies = list(policies_of(table, kinds=("alone", *kinds)))
    replayed = dict(zip(policies, replay_all(table, policies), strict=True))
    best = replayed[policies[0]].scores
    found = []
    for policy, each in replayed.items():
        gains = each.scores - best
        error = float(gains.std(ddof=1)) / len(gains) ** 0.5
        found.append(
            Judged(
                policy=policy,
                gain=float(gains.mean()),
                bound=float(gains.mean()) - error,
                score=float(each.scores.mean()),
                calls=float(each.calls.mean()),
                early=float(each.early.mean()),
                cost_usd=float(each.costs.mean()),
            )
        )
    return found


def choose(found: Sequence[Judged], *, objective: Objective = "accuracy", tolerance: float = 0.0) -> Judged:
    """Choose a policy by its lower bound. The mean would favour the luckiest of hundreds.

    Args:
        found: The policies, the best single model first.
        objective: `accuracy`: the highest bound of the gain, or the best single model if no bound is above 0. `price`: the
            cheapest policy whose bound is at least the negative tolerance.
        tolerance: The score that a cheaper policy may lose against the best single model, from 0 to 1.
    """
    if objective == "accuracy":
        best = max(found, key=lambda each: (round(each.bound, 9), -each.early))
        return best if best.bound > _LEAST else found[0]
    good = [each for each in found if each is found[0] or each.bound >= -tolerance]
    return min(good, key=lambda each: (round(each.cost_usd, 12), -each.bound))


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The expected gain of a choice on unseen questions, by repeated five-fold cross-validation.

    Attributes:
        gain: The mean gain of the chosen policy over the best single model, both chosen on other questions.
        low: The lower end of its 95% interval.
        high: The upper end of the interval.
        gain_answered: The gain on the questions that the best single model answered.
        low_answered: The lower end of its 95% interval.
        high_answered: The upper end of the interval.
        questions_answered: The number of these questions.
        score: The mean score of the chosen policies.
        alone: The share of choices that are the best single model.
        needed: The number of questions needed to detect the gain with a power of 80%, or `None` if it is too small.
    """

    gain: float
    low: float
    high: float
    gain_answered: float
    low_answered: float
    high_answered: float
    questions_answered: int
    score: float
    alone: float
    needed: int | None


def promise(
    table: AnswerTable,
    *,
    objective: Objective = "accuracy",
    tolerance: float = 0.0,
    kinds: Sequence[Kind] = KINDS,
    seed: int = 0,
) -> Promise:
    """Estimate the gain of the choice: repeat it without a fifth of the questions, and evaluate it on these.

    Args:
        table: The answers.
        objective: The objective; see `choose`.
        tolerance: The tolerance; see `choose`.
        kinds: The kinds of policies.
        seed: The seed of the random folds.
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    gains, scores, answered = (np.zeros((_REPEATS, len(table))) for _ in range(3))
    alone = 0
    for repeat in range(_REPEATS):
        places = draw.permutation(len(table))
        for part in np.array_split(places, _FOLDS):
            found = judged(table.rows(np.setdiff1d(places, part)), kinds=kinds)
            chosen, single = choose(found, objective=objective, tolerance=tolerance).policy, found[0].policy
            held_out = table.rows(part)
            scores[repeat, part] = replay(held_out, chosen).scores
            gains[repeat, part] = scores[repeat, part] - replay(held_out, single).scores
            answered[repeat, part] = held_out.answered[:, held_out.samples[single.models[0]][0]]
            alone += chosen == single
    by_question = gains.mean(axis=0)
    filled = answered.mean(axis=0) > _HALF
    low, high = bootstrap_interval(by_question.tolist())
    rest = by_question[filled].tolist() or [0.0]
    low_rest, high_rest = bootstrap_interval(rest)
    return Promise(
        gain=float(by_question.mean()),
        low=low,
        high=high,
        gain_answered=float(np.mean(rest)),
        low_answered=low_rest,
        high_answered=high_rest,
        questions_answered=int(filled.sum()),
        score=float(scores.mean()),
        alone=alone / (_REPEATS * _FOLDS),
        needed=questions_needed(by_question.tolist()),
    )


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The result of a search.

    Attributes:
        table: The answers.
        objective: The objective.
        tolerance: The tolerance of the objective `price`.
        found: The results of every policy on all questions, the best single model first.
        chosen: The chosen policy.
        promise: The expected gain on unseen questions.
        all_wrong: The share of questions for which every model scores below 0.5.
        agreed: The share of questions on which the three best models agree, or `None` for fewer than three models.
        right_agreed: The mean score of the best single model on these questions.
        right_apart: Its mean score on the other questions.
        seed: The seed of the cross-validation.
    """

    table: AnswerTable
    objective: Objective
    tolerance: float
    found: Sequence[Judged]
    chosen: Judged
    promise: Promise
    all_wrong: float
    agreed: float | None
    right_agreed: float | None
    right_apart: float | None
    seed: int

    @property
    def best(self) -> Judged:
        """The best single model."""
        return self.found[0]


def tune(table: AnswerTable, *, objective: Objective = "accuracy", tolerance: float = 0.0, seed: int = 0) -> Tuning:
    """Find the best mixture on recorded answers.

    Args:
        table: The answers.
        objective: `accuracy`: the best score. `price`: the lowest cost among policies that are at most the tolerance worse than
            the best single model.
        tolerance: The tolerance, from 0 to 1.
        seed: The seed of the cross-validation. The same seed and answers give the same result.

    Raises:
        EvaluationError: There are too few questions or models, no answers, or a price that the objective needs is unknown.

    Example:
        ```python
        from langchain_moa.evaluation.answer_table import AnswerTable, Sample
        from langchain_moa.evaluation.questions import Question
        from langchain_moa.evaluation.tuning import tune

        questions = [Question(id=str(n), text=f"What is {n} + 1?", answers=(str(n + 1),)) for n in range(30)]


        def samples(wrong: int) -> list[list[Sample]]:
            said = [str(n + 1 if n % 3 != wrong else -wrong) for n in range(30)]
            return [[Sample(text=text, score=float(int(text) > 0), short=text)] for text in said]


        answers = {"one": samples(0), "two": samples(1), "three": samples(2)}
        found = tune(AnswerTable.of(questions, answers, extract="number"))
        print(found.chosen.policy.title(found.table.models), found.chosen.gain)
        ```
    """
    if len(table) < FEWEST_QUESTIONS:
        msg = f"too few questions ({len(table)}); give at least {FEWEST_QUESTIONS}, better 100"
        raise EvaluationError(msg)
    if len(table.models) < 2:  # noqa: PLR2004  # a choice needs two
        msg = f"there is only one candidate, {table.models[0]}; give two or more"
        raise EvaluationError(msg)
    if not table.answered.any():
        msg = "no candidate has an answer to any of the questions"
        raise EvaluationError(msg)
    if objective == "price" and not table.is_priced:
        unknown = [name for name, columns in zip(table.models, table.samples, strict=True) if _unpriced(table, columns)]
        msg = (
            f"objective: 'price' needs the prices of {', '.join(unknown)}; leave them out, or add cost_usd to recorded answers"
        )
        raise EvaluationError(msg)
    found = judged(table)
    best = replay(table, found[0].policy).scores
    together = _agree(table, trust_order(table)[:_BEST])
    return Tuning(
        table=table,
        objective=objective,
        tolerance=tolerance,
        found=found,
        chosen=choose(found, objective=objective, tolerance=tolerance),
        promise=promise(table, objective=objective, tolerance=tolerance, seed=seed),
        all_wrong=float((table.scores.max(axis=1) < _HALF).mean()),
        agreed=None if together is None else float(together.mean()),
        right_agreed=None if together is None or not together.any() else float(best[together].mean()),
        right_apart=None if together is None or together.all() else float(best[~together].mean()),
        seed=seed,
    )


def _agree(table: AnswerTable, models: Sequence[int]) -> NDArray[np.bool_] | None:
    if len(models) < _BEST:
        return None
    labels = table.labels[:, [table.samples[model][0] for model in models]]
    agree: NDArray[np.bool_] = (labels[:, 0] >= 0) & (labels == labels[:, :1]).all(axis=1)
    return agree


def _unpriced(table: AnswerTable, columns: Sequence[int]) -> bool:
    import numpy as np

    return bool(np.isnan(table.costs[:, list(columns)]).any())
