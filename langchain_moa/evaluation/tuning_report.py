"""The output of `langchain-moa tune`: `moa.yaml` with explanations, the figures as JSON, and the HTML page."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from langchain_moa.data.figures import counted
from langchain_moa.data.sanitizing import shown_line
from langchain_moa.evaluation.policies import trust_order
from langchain_moa.evaluation.policy_replay import replay
from langchain_moa.evaluation.report import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_moa.evaluation.policies import Policy
    from langchain_moa.evaluation.tuning import Judged, Tuning

# A longer page would be hard to read and slow.
_MOST_POLICIES = 25
_UNFOLDED = 16
_MOST_QUESTIONS = 200
_MOST_MODELS = 10
_LONGEST = 400


def sentences(tuning: Tuning) -> list[str]:
    """Return the result in sentences: the choice, the reasons, the expected gain, and the limits.

    Args:
        tuning: The result of the search.
    """
    table, chosen, best = tuning.table, tuning.chosen, tuning.best
    names, found = table.models, tuning.promise
    said = [_choice(tuning)]
    gain = f"{_points(found.gain)} (95% interval {_points(found.low)} to {_points(found.high)})"
    how = f"four times five-fold cross-validation over {counted(len(table), 'question')}"
    if chosen.policy == best.policy:
        said.append(
            f"Choices made on four fifths of the questions gain {gain} over the best single model on the other fifth ({how})."
        )
    else:
        naive = f" On the questions that it was chosen by, the gain is {_points(chosen.gain)}"
        flatters = ", which is too high." if chosen.gain > found.gain else "."
        said.append(
            f"On questions that it was not chosen by, it gains {gain} over the best single model, chosen on the same "
            f"questions ({how}).{naive}{flatters}"
        )
    if found.questions_answered < len(table):
        rest = f"{_points(found.gain_answered)} ({_points(found.low_answered)} to {_points(found.high_answered)})"
        said.append(
            f"Without the {counted(len(table) - found.questions_answered, 'question')} that the best single model left "
            f"unanswered, the gain is {rest}."
        )
    if found.low <= 0 <= found.high and chosen.policy != best.policy:
        need = ""
        if found.needed is not None:
            need = f" If the gain is real, about {counted(found.needed, 'question')} would show it."
        said.append(f"That is no more than noise on {counted(len(table), 'question')}.{need}")
    said.append(
        f"On {tuning.all_wrong:.1%} of the questions every model is wrong, so no choice among their answers can be right."
    )
    if tuning.agreed is not None and tuning.right_agreed is not None and tuning.right_apart is not None:
        check = " Have a person check answers on which they disagree." if tuning.right_apart < tuning.right_agreed else ""
        said.append(
            f"Where the three best models agree ({tuning.agreed:.0%} of the questions), {names[best.policy.models[0]]} is "
            f"right in {tuning.right_agreed:.0%} of the cases, elsewhere in {tuning.right_apart:.0%}.{check}"
        )
    if chosen.policy != best.policy:
        said.append(_price(tuning))
    return said


def config(tuning: Tuning, specs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the chosen mixture. It calls only its proposers.

    Args:
        tuning: The result of the search.
        specs: The proposer of each model as written in a file: a string or a mapping.
    """
    policy = tuning.chosen.policy
    proposers = [specs[tuning.table.models[model]] for model in policy.models]
    if policy.kind == "alone":
        # A vote over one answer returns that answer.
        return {"proposers": proposers, "num_layers": 1, "aggregation": "vote"}
    if policy.kind == "samples":
        proposers = [_sample(spec, number) for number, spec in enumerate(proposers)]
    asked = policy.asked(tuning.table)
    in_turn = [proposers[place] for place in asked]
    extract = tuning.table.extract
    vote: dict[str, Any] = {"extract": extract, "over": "all"}
    if policy.trust != asked:
        vote["trust"] = [_name(proposers[place]) for place in policy.trust]
    return {
        "proposers": [in_turn[: policy.first], *([each] for each in in_turn[policy.first :])],
        "prompt": "blind",
        "stop_when": {"agreement": {"threshold": 1, "extract": extract}},
        "aggregation": {"vote": vote},
    }


def yaml_text(tuning: Tuning, specs: Mapping[str, Any], *, source: str, when: str) -> str:
    """Return the content of `moa.yaml`: the mixture, with comments on the reasons, the date and the source.

    Args:
        tuning: The result of the search.
        specs: The proposer of each model as written in a file.
        source: A description of the questions and answers.
        when: The date.
    """
    from langchain_moa.mixture.config import written

    why = [f"Made by langchain-moa tune on {when} from {source}, seed {tuning.seed}.", *sentences(tuning)]
    if tuning.chosen.policy.kind != "alone":
        why.append(
            "Later layers do not see the earlier answers, and are called only while the vote is undecided. Ties go to the "
            f"proposer that is trusted most: the first one, or the first of `trust`. Answers are read as: "
            f"{tuning.table.extract}. To call all at once, which is faster and more expensive, write all proposers into one "
            "list, with `num_layers: 1` and without `prompt` and `stop_when`."
        )
    comment = "".join(f"# {line}\n" for text in why for line in _wrapped(text))
    return f"{comment}\n{written(config(tuning, specs))}"


def document(tuning: Tuning, specs: Mapping[str, Any], *, source: str) -> str:
    """Return the figures as JSON.

    Args:
        tuning: The result of the search.
        specs: The proposer of each model as written in a file.
        source: A description of the questions and answers.
    """
    table, found = tuning.table, tuning.promise
    content = {
        "source": source,
        "questions": len(table),
        "models": list(table.models),
        "extract": table.extract,
        "objective": tuning.objective,
        "tolerance": tuning.tolerance,
        "seed": tuning.seed,
        "best": _figures(tuning.best, table.models),
        "chosen": _figures(tuning.chosen, table.models),
        "promise": {name: _plain(getattr(found, name)) for name in found.__dataclass_fields__},
        "all_wrong": tuning.all_wrong,
        "agreed": tuning.agreed,
        "right_agreed": tuning.right_agreed,
        "right_apart": tuning.right_apart,
        "sentences": sentences(tuning),
        "config": config(tuning, specs),
        "policies": [_figures(each, table.models) for each in tuning.found],
        "agreement": _matrix(_agreement(tuning)),
        "error_correlation": _matrix(_error_correlation(tuning)),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def page(tuning: Tuning, *, title: str, source: str, yaml: str, command: str, picture: bytes) -> str:
    """Return the self-contained HTML page.

    Args:
        tuning: The result of the search.
        title: The heading.
        source: A description of the questions and answers.
        yaml: The content of `moa.yaml`.
        command: The command that compares a mixture which writes its answers, with its estimated cost.
        picture: The plot as PNG.
    """
    names = tuning.table.models
    ordered = sorted(tuning.found, key=lambda each: -each.bound)
    alone = [each for each in tuning.found if each.policy.kind == "alone"]
    mixtures = [each for each in ordered if each.policy.kind != "alone"]
    # What was chosen by price may have a low bound.
    mixtures.sort(key=lambda each: each != tuning.chosen)
    shown = [*alone, *mixtures[:_MOST_POLICIES]]
    models = trust_order(tuning.table)[:_MOST_MODELS]
    differing = _differing(tuning, models)
    return render(
        "tuning.html.j2",
        title=title,
        about=f"{counted(len(tuning.table), 'question')}, {counted(len(names), 'model')}, "
        f"{counted(len(tuning.found), 'policy').replace('policys', 'policies')}; from {source}",
        sentences=sentences(tuning),
        yaml=yaml,
        command=command,
        picture=b64encode(picture).decode(),
        policies=[{"chosen": each == tuning.chosen, "cells": _cells(each, tuning)} for each in shown],
        unfolded=max(_UNFOLDED, len(alone) + 1),
        models=[names[model] for model in models],
        agreement=_percentages(tuning, _agreement(tuning), models),
        correlation=_percentages(tuning, _error_correlation(tuning), models),
        differing=differing[:_MOST_QUESTIONS],
        count=len(differing),
        questions=len(tuning.table),
    )


def _choice(tuning: Tuning) -> str:
    table, chosen, best = tuning.table, tuning.chosen, tuning.best
    names, single = table.models, table.models[best.policy.models[0]]
    if tuning.objective == "price":
        what = f"Use {_the(chosen.policy, names)}"
        if chosen.policy == best.policy:
            return f"{what}: no cheaper choice is certain to be at most {_points(tuning.tolerance)} worse."
        return (
            f"{what}: the cheapest whose gain over {single}, less one standard error, is not below "
            f"{_points(-tuning.tolerance)} ({_points(chosen.bound)})."
        )
    if chosen.policy == best.policy:
        others = [each for each in tuning.found if each is not best]
        nearest = max(others, key=lambda each: each.bound)
        return (
            f"Use {single} alone: no mixture's gain over it, less one standard error, is above zero. The nearest is "
            f"{_the(nearest.policy, names)} ({_points(nearest.gain)}, less one standard error {_points(nearest.bound)})."
        )
    return (
        f"Use {_the(chosen.policy, names)}: its gain over {single}, the best single model, is {_points(chosen.gain)} on "
        f"these questions, less one standard error {_points(chosen.bound)}."
    )


def _the(policy: Policy, names: Sequence[str]) -> str:
    """Return a policy's title as a sentence has it."""
    return f"{'the ' if policy.kind in {'majority', 'samples'} else ''}{policy.title(names)}"


def _price(tuning: Tuning) -> str:
    chosen, best = tuning.chosen, tuning.best
    calls = f"It takes {chosen.early:.1f} calls for an answer"
    if chosen.calls == 1:
        calls = "It takes 1 call for an answer"
    elif chosen.early < chosen.calls:
        calls += f", at most {chosen.calls:.0f},"
    if math.isnan(chosen.cost_usd) or math.isnan(best.cost_usd):
        return f"{calls}. The price of some models is not known."
    times = f", {chosen.cost_usd / best.cost_usd:.2f} times the price of the best single model" if best.cost_usd else ""
    return f"{calls} and ${1000 * chosen.cost_usd:,.2f} for 1,000 answers{times}."


def _name(spec: Any) -> str:
    """Return the name of a proposer as written in a file."""
    return spec if isinstance(spec, str) else str(spec.get("name") or spec["model"])


def _sample(spec: Any, number: int) -> Any:
    """Return the proposer of one of several samples. For recorded answers, it replays that sample."""
    given: dict[str, Any] = {"model": spec} if isinstance(spec, str) else dict(spec)
    if not str(given["model"]).startswith("replay:"):
        return spec
    return {**given, "settings": {**given.get("settings", {}), "sample": number}}


def _figures(each: Judged, names: Sequence[str]) -> dict[str, Any]:
    figures = {name: _plain(getattr(each, name)) for name in ("score", "gain", "bound", "calls", "early", "cost_usd")}
    return {
        "policy": each.policy.title(names),
        "kind": each.policy.kind,
        "models": [names[model] for model in each.policy.models],
        **figures,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def _cells(each: Judged, tuning: Tuning) -> list[str]:
    cost = "?" if math.isnan(each.cost_usd) else f"{1000 * each.cost_usd:,.2f}"
    is_best = each.policy == tuning.best.policy
    return [
        each.policy.title(tuning.table.models),
        f"{100 * each.score:.1f}",
        "" if is_best else f"{100 * each.gain:+.1f}",
        "" if is_best else f"{100 * each.bound:+.1f}",
        f"{each.calls:.1f}",
        f"{each.early:.1f}",
        cost,
    ]


def _agreement(tuning: Tuning) -> Any:
    """Return, for each pair of models, the share of equal short answers among the questions on which both have one."""
    import numpy as np

    labels = tuning.table.labels[:, [columns[0] for columns in tuning.table.samples]]
    both = (labels[:, :, None] >= 0) & (labels[:, None, :] >= 0)
    same = (labels[:, :, None] == labels[:, None, :]) & both
    with np.errstate(invalid="ignore", divide="ignore"):
        return same.sum(axis=0) / both.sum(axis=0)


def _error_correlation(tuning: Tuning) -> Any:
    """Return the correlation of the scores of each pair of models; NaN for a model with constant scores."""
    import numpy as np

    scores = tuning.table.scores[:, [columns[0] for columns in tuning.table.samples]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(scores, rowvar=False)


def _matrix(values: Any) -> list[list[float | None]]:
    return [[_plain(float(each)) for each in row] for row in values]


def _percentages(tuning: Tuning, values: Any, models: Sequence[int]) -> list[dict[str, Any]]:
    def shown(value: float) -> str:
        return "" if math.isnan(value) else f"{value:.2f}"

    names = tuning.table.models
    return [
        {"name": names[one], "cells": ["" if one == other else shown(float(values[one][other])) for other in models]}
        for one in models
    ]


def _differing(tuning: Tuning, models: Sequence[int]) -> list[dict[str, Any]]:
    """Return the questions on which the models have different scores."""
    table = tuning.table
    columns = {model: table.samples[model][0] for model in models}
    chosen = replay(table, tuning.chosen.policy).scores
    found = []
    for place, question in enumerate(table.questions):
        scores = [float(table.scores[place, column]) for column in columns.values()]
        if len(set(scores)) == 1:
            continue
        answers = [
            {"name": table.models[model], "score": score, "text": (table.shorts[place][column] or "no answer")[:_LONGEST]}
            for (model, column), score in zip(columns.items(), scores, strict=True)
        ]
        found.append(
            {
                "text": question.text[:_LONGEST],
                "answer": " or ".join(question.answers),
                "score": round(float(chosen[place]), 2),
                "answers": answers,
            }
        )
    return found


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    # Names must not end the comment, or make the file unreadable.
    return wrap(shown_line(text), width=116, break_long_words=False, break_on_hyphens=False) or [""]
