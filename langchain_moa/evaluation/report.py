"""What is shown of a comparison: the table, the JSON document, the HTML page."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.comparison import Result
    from langchain_moa.evaluation.figures import Figures, Summary
    from langchain_moa.evaluation.questions import Question

_TEMPLATES = Path(__file__).parent / "templates"

# More would be a page that nobody reads and few browsers like.
_MOST_SHOWN = 200

_UNKNOWN = "?"


def titles(*, judged: bool, priced: bool) -> list[str]:
    """Return the headings of the table.

    Args:
        judged: Whether the scores are a judge's preferences.
        priced: Whether any price is known.
    """
    score = "preferred to it" if judged else "score"
    return ["", score, "the mixture's gain", "calls", "seconds", *(["$ per 1,000"] if priced else []), "words"]


def cells(each: Figures, *, priced: bool) -> list[str]:
    """Return the cells of a variant's row."""
    cost = [_UNKNOWN if each.cost_usd is None else f"{1000 * each.cost_usd:.2f}"] if priced else []
    gain = "" if each.gain is None else f"{100 * each.gain:+.1f} ({100 * each.gain_low:+.1f} to {100 * each.gain_high:+.1f})"
    score = f"{100 * each.score:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})"
    failed = f", {each.failed:.0%} failed" if each.failed else ""
    return [f"{each.name}{failed}", score, gain, f"{each.calls:.1f}", f"{each.seconds:.1f}", *cost, f"{each.words:.0f}"]


def is_priced(summary: Summary) -> bool:
    """Tell whether any price is known."""
    return any(each.cost_usd is not None for each in summary.figures)


def legend(summary: Summary, *, judged: bool) -> str:
    """Return what the table's figures are, in a sentence or two."""
    what = "How often the judge prefers a variant to the mixture; 50 is even. " if judged else ""
    wrong = "" if summary.all_wrong is None else f" On {summary.all_wrong:.1%} of the questions every member alone is wrong."
    return (
        f"{what}In brackets: 95% intervals of a bootstrap over {summary.questions:,} questions, the gain's paired. Calls, "
        f"seconds, dollars and words are those of one answer.{wrong}"
    )


def markdown(summary: Summary, *, judged: bool = False) -> str:
    """Return the table, what it means and the verdicts as Markdown."""
    priced = is_priced(summary)
    heads = titles(judged=judged, priced=priced)
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *(cells(each, priced=priced) for each in summary.figures)]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([rows, legend(summary, judged=judged), *summary.verdicts]) + "\n"


def document(summary: Summary, results: Sequence[Result], questions: Sequence[Question]) -> str:
    """Return everything as JSON: the figures, the verdicts, and every score by question."""
    scores = [
        {"id": question.id, "scores": {result.name: round(result.scores[place], 6) for result in results}}
        for place, question in enumerate(questions)
    ]
    fields: dict[str, Any] = {**asdict(summary), "by_question": scores}
    return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"


def page(
    summary: Summary,
    results: Sequence[Result],
    questions: Sequence[Question],
    *,
    title: str,
    picture: bytes,
    judged: bool = False,
) -> str:
    """Return the HTML page: one file that loads nothing.

    Args:
        summary: What the comparison says.
        results: What it is drawn from.
        questions: The questions.
        title: The heading.
        picture: The Pareto plot.
        judged: Whether the scores are a judge's preferences.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    priced = is_priced(summary)
    differing = _differing(results, questions)
    shown = differing[:_MOST_SHOWN]
    return environment.get_template("comparison.html.j2").render(
        title=title,
        about=f"{summary.questions:,} questions, {len(summary.figures)} variants",
        verdicts=summary.verdicts,
        titles=titles(judged=judged, priced=priced),
        rows=[{"kind": each.kind, "cells": cells(each, priced=priced)} for each in summary.figures],
        legend=legend(summary, judged=judged),
        picture=b64encode(picture).decode(),
        differing=shown,
        questions=summary.questions,
        cut="" if len(shown) == len(differing) else f"; there are {len(differing)}, and these are the first",
    )


def _differing(results: Sequence[Result], questions: Sequence[Question]) -> list[dict[str, Any]]:
    found = []
    for place, question in enumerate(questions):
        if len({result.scores[place] for result in results if result.kind in ("mixture", "member")}) == 1:
            continue
        answers = [
            {
                "name": result.name,
                "score": round(result.scores[place], 2),
                "text": result.answers[place][0].text or result.answers[place][0].error,
            }
            for result in results
        ]
        found.append({"text": question.text, "answer": " or ".join(question.answers), "answers": answers})
    return found
