"""Replay policies on recorded answers, and compute their scores, calls and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from langchain_moa.evaluation.answer_table import AnswerTable
    from langchain_moa.evaluation.policies import Policy

# The maximum number of pairs of answers compared at once, to limit memory.
_MOST_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The results of a replayed policy.

    Attributes:
        scores: The score by question: the mean over the samples.
        calls: The number of calls by question if all are made.
        early: The number of calls by question until the vote is decided.
        costs: The cost of the `early` calls by question in US dollars, or NaN if a price is unknown.
    """

    scores: NDArray[np.float64]
    calls: NDArray[np.float64]
    early: NDArray[np.float64]
    costs: NDArray[np.float64]


def replay(table: AnswerTable, policy: Policy) -> Replayed:
    """Replay a policy on the questions of a table.

    If there are several samples, the policy is replayed with the first sample of each model, with the second, and so on, and
    the results are averaged.

    Args:
        table: The answers.
        policy: The policy.
    """
    return replay_all(table, [policy])[0]


def replay_all(table: AnswerTable, policies: Sequence[Policy]) -> list[Replayed]:
    """Replay many policies. Policies of the same kind, size and number of samples are replayed together.

    Args:
        table: The answers.
        policies: The policies.
    """
    import numpy as np

    found: dict[Policy, Replayed] = {}
    # Each policy has its own number of draws: more of them would repeat some of a model's samples and not the others.
    shapes: dict[tuple[str, int, int], list[Policy]] = {}
    for policy in policies:
        draws = 1 if policy.kind == "samples" else max(len(table.samples[model]) for model in policy.models)
        shapes.setdefault((policy.kind, len(policy.models), draws), []).append(policy)
    for (_, size, draws), alike in shapes.items():
        # In parts, to limit memory.
        step = max(1, _MOST_CELLS // (len(table) * size * size))
        for begin in range(0, len(alike), step):
            part = alike[begin : begin + step]
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
    """Return the columns of the answers that policies use, one row per policy."""
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
        columns: By policy, the columns of the answers that it uses.
        asked: By policy, the indices into `columns` in the order of the calls.
        trust: By policy, the indices into `columns`, the most trusted first.
    """
    import numpy as np

    # From here on, indices are in the order of trust.
    columns, rank = np.take_along_axis(columns, trust, axis=1), np.argsort(trust, axis=1)
    asked = np.take_along_axis(rank, asked, axis=1)
    labels, scores, answered = table.labels[:, columns], table.scores[:, columns], table.answered[:, columns]
    # By question, policy and pair of indices: whether the short answers are equal. Of several most frequent answers, `argmax`
    # returns that of the most trusted model.
    equal = (labels[..., :, None] == labels[..., None, :]) & (labels >= 0)[..., None]
    early = _decided_after(equal, asked)
    # Only the models called until the decision count.
    made = np.argsort(asked, axis=1) < early[..., None]
    counts = (equal & made[..., :, None] & made[..., None, :]).sum(axis=-1)
    answered = answered & made
    # Without any short answer, use the most trusted model that answered.
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
    """Return the number of calls after which a vote is decided, by the rules of the aggregation `vote`.

    Args:
        equal: By question, policy and pair of indices in the order of trust: whether the short answers are equal.
        asked: By policy, the indices in the order of the calls.
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
        # The most trusted model wins ties, if it has answered.
        after[(most > others + left) | ((most == others + left) & (leader == 0) & (most > 0))] = made
    return after
