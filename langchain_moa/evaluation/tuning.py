"""The search for the best mixture by replay: every policy on recorded answers, chosen by a bound, promised by cross-validation.

A policy is a mixture that only chooses among answers, so what it would have answered is known from the answers of its members
alone. A mixture that writes an answer of its own cannot be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from langchain_moa.batch.limits import EvaluationError
from langchain_moa.evaluation.significance import bootstrap_interval, questions_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from langchain_moa.evaluation.answer_table import AnswerTable

FEWEST_QUESTIONS = 20
"""With fewer questions nothing can be chosen."""

Kind = Literal["alone", "majority", "samples", "pair then third"]
Objective = Literal["accuracy", "price"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind of policy. A mixture's fields can describe each of them."""

_SIZES = (3, 5)
# Of more models, the best by themselves are combined.
_MOST_MODELS = 10
_FOLDS = 5
_REPEATS = 4
_HALF = 0.5

# How many comparisons of two answers are made at once.
_MOST_CELLS = 4_000_000
_LEAST = 1e-9


class Policy(NamedTuple):
    """A way to answer with some of the models, without a further call.

    Attributes:
        kind: `alone`: one model. `majority`: the answer that most of several models come to. `samples`: the same for several
            samples of one. `pair then third`: two models; if they disagree, a better one decides. Of all but `alone`, models
            are asked only until the vote is decided: first as many as could decide it, then one after the other.
        models: The models' places in the table, the most trusted one first, which ties go to; of `pair then third` the third
            one is last; it is the most trusted one.
    """

    kind: Kind
    models: tuple[int, ...]

    def asked(self, table: AnswerTable) -> tuple[int, ...]:
        """Return the places in `models` in the order in which they are asked: the cheapest first, or else as they stand.

        Args:
            table: The answers, with their prices.
        """
        places = tuple(range(len(self.models)))
        if self.kind != "majority" or not table.is_priced:
            return places
        prices = [float(table.costs[:, list(table.samples[model])].mean()) for model in self.models]
        return tuple(sorted(places, key=lambda place: (prices[place], place)))

    @property
    def trust(self) -> tuple[int, ...]:
        """The places in `models`, the most trusted one first."""
        places = tuple(range(len(self.models)))
        return (*places[-1:], *places[:-1]) if self.kind == "pair then third" else places

    @property
    def first(self) -> int:
        """How many are asked at once: as many as can decide the vote."""
        return len(self.models) // 2 + 1

    def title(self, names: Sequence[str]) -> str:
        """Return the policy in words.

        Args:
            names: The models' names.
        """
        named = [names[model] for model in self.models]
        match self.kind:
            case "alone":
                return f"{named[0]} alone"
            case "majority":
                return f"majority of {', '.join(named)}"
            case "samples":
                return f"majority of {len(named)} samples of {named[0]}"
            case _:
                return f"{named[0]} and {named[1]}, then {named[2]} if they disagree"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a policy would have answered.

    Attributes:
        scores: By question, how good the answer is: the mean over the samples that there are.
        calls: By question, how many calls the policy takes if all are made.
        early: By question, how many it takes until the vote is decided.
        costs: By question, US dollars of `early`; NaN where a price is not known.
    """

    scores: NDArray[np.float64]
    calls: NDArray[np.float64]
    early: NDArray[np.float64]
    costs: NDArray[np.float64]


def replay(table: AnswerTable, policy: Policy) -> Replayed:
    """Return what a policy would have answered to the questions of a table.

    Where there are several samples, the policy is replayed once with the first sample of each model, once with the second, and
    so on, and the mean is taken.

    Args:
        table: The answers.
        policy: The policy.
    """
    return _replayed_all(table, [policy])[0]


def policies_of(table: AnswerTable, *, kinds: Sequence[Kind] = KINDS, trust: Sequence[int] | None = None) -> Iterator[Policy]:
    """Yield the policies that can be made of a table's models.

    Args:
        table: The answers.
        kinds: The kinds of policies. Default: all.
        trust: The models, the most trusted one first. Default: by their mean score in the table.
    """
    order = list(trust_order(table) if trust is None else trust)
    if "alone" in kinds:
        yield from (Policy("alone", (model,)) for model in order)
    for size in _SIZES:
        if "majority" in kinds:
            yield from (Policy("majority", models) for models in combinations(order[:_MOST_MODELS], size))
        if "samples" in kinds:
            yield from (Policy("samples", (model,) * size) for model in order if len(table.samples[model]) >= size)
    if "pair then third" in kinds:
        # A third one that is trusted less would be right less often than those that it decides between.
        triples = combinations(order[:_MOST_MODELS], _SIZES[0])
        yield from (Policy("pair then third", (first, second, best)) for best, first, second in triples)


def trust_order(table: AnswerTable) -> list[int]:
    """Return the models, the one with the best mean score first; of equal ones the cheaper, then the first one.

    Args:
        table: The answers.
    """
    import numpy as np

    scores = [float(table.scores[:, list(columns)].mean()) for columns in table.samples]
    prices = [float(np.nan_to_num(table.costs[:, list(columns)], nan=0.0).mean()) for columns in table.samples]
    return sorted(range(len(table.models)), key=lambda model: (-round(scores[model], 9), prices[model], model))


class Judged(NamedTuple):
    """A policy on the questions that it is chosen by.

    Attributes:
        policy: The policy.
        gain: How much more it scores than the best single model.
        bound: The gain less one standard error.
        score: Its mean score.
        calls: Calls for an answer at the most.
        early: Calls for an answer until the vote is decided.
        cost_usd: US dollars for these; NaN where a price is not known.
    """

    policy: Policy
    gain: float
    bound: float
    score: float
    calls: float
    early: float
    cost_usd: float


def judged(table: AnswerTable, *, kinds: Sequence[Kind] = KINDS) -> list[Judged]:
    """Return every policy with its gain over the best single model, the best single model first.

    Args:
        table: The answers.
        kinds: The kinds of policies.
    """
    policies = list(policies_of(table, kinds=("alone", *kinds)))
    replayed = dict(zip(policies, _replayed_all(table, policies), strict=True))
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
    """Choose a policy by its lower bound, and not by its mean, which flatters the luckiest of hundreds.

    Args:
        found: The policies, the best single model first.
        objective: `accuracy`: the highest bound of the gain; the best single model where none is above 0. `price`: the cheapest
            policy whose bound is not below the tolerance.
        tolerance: How much worse than the best single model a cheaper policy may be, from 0 to 1.
    """
    if objective == "accuracy":
        best = max(found, key=lambda each: (round(each.bound, 9), -each.early))
        return best if best.bound > _LEAST else found[0]
    good = [each for each in found if each is found[0] or each.bound >= -tolerance]
    return min(good, key=lambda each: (round(each.cost_usd, 12), -each.bound))


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a choice is worth on questions that it has not seen, by repeated five-fold cross-validation.

    Attributes:
        gain: How much more the chosen policy scores than the best single model, both chosen on other questions.
        low: The lower end of its 95% interval.
        high: The upper end.
        gain_answered: The same on the questions that the best single model has answered.
        low_answered: The lower end of its 95% interval.
        high_answered: The upper end.
        questions_answered: How many these questions are.
        score: The mean score of what was chosen.
        alone: The share of the choices that were the best single model.
        needed: How many questions would show a gain of this size in four of five tries; `None` where it is too small to tell.
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
    """Estimate what the choice is worth: it is made anew without a fifth of the questions, and tried on these.

    Args:
        table: The answers.
        objective: What is chosen by, as for `choose`.
        tolerance: As for `choose`.
        kinds: The kinds of policies.
        seed: Draws the parts.
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
    """What a search has found.

    Attributes:
        table: The answers.
        objective: What was chosen by.
        tolerance: How much worse a cheaper policy may be.
        found: Every policy on all questions, the best single model first.
        chosen: The policy that was chosen.
        promise: What the choice is worth on other questions.
        all_wrong: The share of questions that no model scores half a point on.
        agreed: The share of questions on which the three best models agree; `None` of fewer than three models.
        right_agreed: How often the best single model is right there.
        right_apart: How often it is right elsewhere.
        seed: What drew the parts of the cross-validation.
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
    """Search for the mixture that does best on recorded answers.

    Args:
        table: The answers.
        objective: `accuracy`: what scores best. `price`: what costs least among those that are not worse than the best single
            model by more than the tolerance.
        tolerance: That tolerance, from 0 to 1.
        seed: Draws the parts of the cross-validation; the same seed and answers give the same result.

    Raises:
        EvaluationError: There are too few questions or models, or a price is not known that the objective needs.

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
        msg = f"{len(table)} questions are too few to choose by; give at least {FEWEST_QUESTIONS}, better 100"
        raise EvaluationError(msg)
    if len(table.models) < 2:  # noqa: PLR2004  # it takes two to choose
        msg = f"there is only one candidate, {table.models[0]}; give two or more"
        raise EvaluationError(msg)
    if not table.answered.any():
        msg = "there is no answer of any candidate to any of the questions"
        raise EvaluationError(msg)
    if objective == "price" and not table.is_priced:
        unknown = [name for name, columns in zip(table.models, table.samples, strict=True) if _unpriced(table, columns)]
        msg = f"the objective price needs the price of {', '.join(unknown)}; add cost_usd to the recorded answers"
        raise EvaluationError(msg)
    found = judged(table)
    best = replay(table, found[0].policy).scores
    together = _agree(table, trust_order(table)[: _SIZES[0]])
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


def _replayed_all(table: AnswerTable, policies: Sequence[Policy]) -> list[Replayed]:
    """Replay many policies, those of the same kind and size at once."""
    import numpy as np

    found: dict[Policy, Replayed] = {}
    shapes = dict.fromkeys((policy.kind, len(policy.models)) for policy in policies)
    for kind, size in shapes:
        alike = [policy for policy in policies if (policy.kind, len(policy.models)) == (kind, size)]
        # All at once would take much memory for many questions.
        step = max(1, _MOST_CELLS // (len(table) * size * size))
        for begin in range(0, len(alike), step):
            part = alike[begin : begin + step]
            draws = max(len(table.samples[model]) for policy in part for model in policy.models) if kind != "samples" else 1
            asked = np.array([policy.asked(table) for policy in part])
            trust = np.array([policy.trust for policy in part])
            each = [_replayed(table, _columns(table, part, draw), asked, trust) for draw in range(draws)]
            scores, calls, early, costs = (np.mean(values, axis=0) for values in zip(*each, strict=True))
            for place, policy in enumerate(part):
                found[policy] = Replayed(
                    scores=scores[:, place], calls=calls[:, place], early=early[:, place], costs=costs[:, place]
                )
    return [found[policy] for policy in policies]


def _columns(table: AnswerTable, policies: Sequence[Policy], draw: int) -> NDArray[np.int64]:
    """Return the columns of the answers that policies read, a row for each policy."""
    import numpy as np

    def columns(policy: Policy) -> list[int]:
        if policy.kind == "samples":
            return list(table.samples[policy.models[0]][: len(policy.models)])
        return [table.samples[model][draw % len(table.samples[model])] for model in policy.models]

    return np.array([columns(policy) for policy in policies])


def _replayed(
    table: AnswerTable, columns: NDArray[np.int64], asked: NDArray[np.int64], trust: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """Return scores, calls, early and costs by question and policy.

    Args:
        table: The answers.
        columns: By policy, the columns of the answers that it reads.
        asked: By policy, the places in `columns` in the order in which they are asked.
        trust: The same, the most trusted one first.
    """
    import numpy as np

    # From here on, places are those in the order of trust.
    columns, rank = np.take_along_axis(columns, trust, axis=1), np.argsort(trust, axis=1)
    asked = np.take_along_axis(rank, asked, axis=1)
    labels, scores, answered = table.labels[:, columns], table.scores[:, columns], table.answered[:, columns]
    # By question, policy and two places, whether they have the same short answer. Of several most frequent ones, `argmax`
    # takes the most trusted one's.
    equal = (labels[..., :, None] == labels[..., None, :]) & (labels >= 0)[..., None]
    early = _decided_after(equal, asked)
    # Of those that are asked, the answer is the most trusted one's.
    made = np.argsort(asked, axis=1) < early[..., None]
    counts = (equal & made[..., :, None] & made[..., None, :]).sum(axis=-1)
    answered = answered & made
    # Where none has a short answer, the first that has answered.
    chosen = np.where(counts.max(axis=-1) > 0, counts.argmax(axis=-1), answered.argmax(axis=-1))
    right = np.where(answered.any(axis=-1), _taken(scores, chosen), 0.0)
    paid = np.cumsum(np.take_along_axis(table.costs[:, columns], np.broadcast_to(asked, labels.shape), axis=-1), axis=-1)
    costs = np.take_along_axis(paid, early[..., None].astype(np.int64) - 1, axis=-1)[..., 0]
    return right, np.full(right.shape, float(columns.shape[1])), early, costs


def _taken(scores: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    import numpy as np

    taken: NDArray[np.float64] = np.take_along_axis(scores, chosen[..., None], axis=-1)[..., 0]
    return taken


def _decided_after(equal: NDArray[np.bool_], asked: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return after how many calls a vote is decided, as the aggregation `vote` decides.

    Args:
        equal: By question, policy and two places in the order of trust, whether they have the same short answer.
        asked: By policy, the places in the order in which they are asked.
    """
    import numpy as np

    size = equal.shape[-1]
    after = np.full(equal.shape[:-2], float(size))
    turn = np.argsort(asked, axis=1)
    for made in range(size - 1, 0, -1):
        there = turn < made
        so_far = equal & there[:, :, None] & there[:, None, :]
        counts = so_far.sum(axis=-1)
        leader = counts.argmax(axis=-1)
        most = counts.max(axis=-1)
        with_leader = np.take_along_axis(so_far, leader[..., None, None], axis=-2)[..., 0, :]
        others = np.where(with_leader, 0, counts).max(axis=-1)
        left = size - made
        # A tie goes to the most trusted one, if it has answered.
        after[(most > others + left) | ((most == others + left) & (leader == 0) & (most > 0))] = made
    return after


def _agree(table: AnswerTable, models: Sequence[int]) -> NDArray[np.bool_] | None:
    if len(models) < _SIZES[0]:
        return None
    labels = table.labels[:, [table.samples[model][0] for model in models]]
    agree: NDArray[np.bool_] = (labels[:, 0] >= 0) & (labels == labels[:, :1]).all(axis=1)
    return agree


def _unpriced(table: AnswerTable, columns: Sequence[int]) -> bool:
    import numpy as np

    return bool(np.isnan(table.costs[:, list(columns)]).any())
