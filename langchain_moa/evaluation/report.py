"""The output of a comparison: the table, the JSON document and the HTML page."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.data.figures import counted
from langchain_moa.data.sanitizing import left_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.comparison import VariantAnswer, VariantResult
    from langchain_moa.evaluation.questions import Question
    from langchain_moa.evaluation.summary import ComparisonSummary, VariantFigures

_TEMPLATES = Path(__file__).parent / "templates"

# A longer page would be hard to read and slow.
_MOST_SHOWN = 200

_UNKNOWN = "?"

# Characters that start HTML, a link, an image, code or emphasis in Markdown.
_MARKS = re.compile(r"[\\\\<\[\]`*]|(?<!\w)_|_(?!\w)")


def titles(summary: ComparisonSummary) -> list[str]:
    """Return the headings of the table."""
    score = "preferred to it" if summary.is_judged else "score"
    cost = ["$ per 1,000"] if is_priced(summary) else []
    return ["", score, "the mixture's gain", "calls", "seconds", *cost, "words"]


def cells(each: VariantFigures, summary: ComparisonSummary) -> list[str]:
    """Return the cells of a variant's row."""
    cost = [_UNKNOWN if each.cost_usd is None else _dollars(1000 * each.cost_usd)] if is_priced(summary) else []
    gain = ""
    if each.gain is not None:
        gain = f"{100 * each.gain.mean:+.1f} ({100 * each.gain.low:+.1f} to {100 * each.gain.high:+.1f})"
    score = f"{100 * each.score:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})"
    failed = f", {each.failed:.0%} failed" if each.failed else ""
    return [f"{each.name}{failed}", score, gain, f"{each.calls:.1f}", f"{each.seconds:.1f}", *cost, f"{each.words:.0f}"]


def is_priced(summary: ComparisonSummary) -> bool:
    """Return whether any price is known."""
    return any(each.cost_usd is not None for each in summary.figures)


def legend(summary: ComparisonSummary) -> str:
    """Return an explanation of the table in a few sentences."""
    sentences = []
    if summary.is_judged:
        sentences.append("The score is how often the judge prefers a variant to the mixture; 50 is even.")
    over = counted(summary.questions, "question")
    sentences.append(f"In parentheses: 95% bootstrap intervals over {over}; for the gain, paired.")
    dollars = ", dollars per 1,000 answers" if is_priced(summary) else ""
    sentences.append(f"Calls, seconds and words are per answer{dollars}.")
    if any(each.kind == "layer" for each in summary.figures):
        sentences.append('The paper counts the aggregator as a layer: its layer 2 is "after layer 1" here.')
    if sum(each.kind == "member" for each in summary.figures) > 1:
        sentences.append("In the verdicts, the best member is chosen on other questions than it is evaluated on.")
    if summary.all_wrong is not None:
        wrong = "scores below 50" if summary.is_graded else "is wrong"
        sentences.append(f"On {summary.all_wrong:.1%} of the questions every member alone {wrong}.")
    return " ".join(sentences)


def markdown(summary: ComparisonSummary) -> str:
    """Return the table, its explanation, the verdicts and the failures as Markdown."""
    heads = titles(summary)
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *(cells(each, summary) for each in summary.figures)]
    rows = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    said = map(_sentence, [*summary.verdicts, *summary.notes, *summary.problems])
    return "\n\n".join([rows, legend(summary), *said]) + "\n"


def document(summary: ComparisonSummary, results: Sequence[VariantResult], questions: Sequence[Question]) -> str:
    """Return everything as JSON: the figures, the verdicts, and all answers with their scores, costs and failures."""
    by_question = [
        {
            "id": question.id,
            "question": question.text,
            "right": list(question.answers),
            "answers": {
                result.name: {
                    "score": round(result.scores[place], 6),
                    "epochs": [_answer(answer) for answer in result.answers[place]],
                }
                for result in results
            },
        }
        for place, question in enumerate(questions)
    ]
    return json.dumps({**asdict(summary), "by_question": by_question}, indent=2) + "\n"


def page(
    summary: ComparisonSummary, results: Sequence[VariantResult], questions: Sequence[Question], *, title: str, picture: bytes
) -> str:
    """Return the self-contained HTML page.

    Args:
        summary: The summary of the comparison.
        results: The results of the variants.
        questions: The questions.
        title: The heading.
        picture: The Pareto plot.
    """
    differing = _differing(results, questions)
    shown = differing[:_MOST_SHOWN]
    return render(
        "comparison.html.j2",
        title=title,
        about=f"{counted(summary.questions, 'question')}, {len(summary.figures)} variants",
        problems=summary.problems,
        verdicts=summary.verdicts,
        titles=titles(summary),
        rows=[{"kind": each.kind, "cells": cells(each, summary)} for each in summary.figures],
        legend=legend(summary),
        notes=summary.notes,
        picture=b64encode(picture).decode(),
        differing=shown,
        total=len(differing),
        questions=summary.questions,
    )


def render(template: str, **context: Any) -> str:
    """Render a self-contained page with the style of the pages of runs.

    Args:
        template: The name of the template.
        **context: The variables of the template.

    Raises:
        ImportError: A package of the extra `report` is missing.
    """
    from langchain_moa.runs import page as pages

    return pages.page(template, folder=_TEMPLATES, images=True, **context)


def _answer(answer: VariantAnswer) -> dict[str, Any]:
    return {**asdict(answer), "seconds": round(answer.seconds, 6)}


def _dollars(amount: float) -> str:
    # For small amounts, show two significant digits.
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.2g}"


def _cell(text: str) -> str:
    return _sentence(text).replace("|", "\\|")


def _sentence(text: str) -> str:
    """Escape untrusted text as one line of Markdown, so that a terminal and a renderer show it unchanged."""
    return _MARKS.sub(r"\\\g<0>", " ".join(left_out(text).split()))


def _differing(results: Sequence[VariantResult], questions: Sequence[Question]) -> list[dict[str, Any]]:
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
