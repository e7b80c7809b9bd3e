"""References that are there already: other models' answers to the same questions, in place of the proposers'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.data.reference import Reference
from langchain_moa.data.rows import RowError, read_rows
from langchain_moa.evaluation.harnesses.harness import HarnessWithReferences

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from langchain_moa.evaluation.harnesses.harness import BenchmarkQuestion, Harness


def read_references(
    paths: Sequence[Path], harness: Harness, questions: Sequence[BenchmarkQuestion]
) -> Mapping[Hashable, list[Reference]]:
    """Read answer files of a harness, one for each model, as references.

    As the `--reference-paths` of the paper's own code; the rows are matched by the question, not by their order.

    Args:
        paths: The files; the first one's answers are the first references.
        harness: Whose files they are.
        questions: The questions that need references.

    Returns:
        The references of each question, by its id.

    Raises:
        RowError: A file is malformed, has no answer to one of the questions, or several to one.
    """
    if not isinstance(harness, HarnessWithReferences):
        msg = f"--references: {harness.name} has several turns, and the references of a turn depend on the answer before it"
        raise RowError(msg)
    found: dict[Hashable, list[Reference]] = {question.id: [] for question in questions}
    for position, path in enumerate(paths, start=1):
        texts = _texts(path, harness)
        for question in questions:
            if question.id not in texts:
                msg = f"{path} has no answer to the question of {question.row.place}"
                raise RowError(msg)
            found[question.id].append(_reference(path.stem, position, texts[question.id]))
    return found


def _texts(path: Path, harness: HarnessWithReferences) -> dict[Hashable, str]:
    texts: dict[Hashable, str] = {}
    lines: dict[Hashable, int] = {}
    for row in read_rows(path):
        question, text = harness.reference(row)
        if (before := lines.setdefault(question, row.line)) != row.line and texts[question] != text:
            row.refuse(f"line {before} answers the same question, and otherwise")
        texts[question] = text
    return texts


def _reference(name: str, position: int, text: str) -> Reference:
    # Paid for elsewhere: there is nothing to count.
    return Reference(
        turn="",
        layer=1,
        proposer=position,
        name=name,
        model=name,
        text=text,
        status="ok",
        error=None,
        usage=None,
        seconds=0.0,
    )
