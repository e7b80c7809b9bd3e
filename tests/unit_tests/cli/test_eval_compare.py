"""What a comparison shows: a table for a person, a document for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_moa.cli.commands.eval.compare import _show
from langchain_moa.evaluation.comparison import ComparisonResult, VariantAnswer, VariantResult
from langchain_moa.evaluation.summary import ComparisonSummary

pytest.importorskip("scipy", reason="the extra eval is not installed")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.evaluation.variants import Kind


def result(name: str, kind: Kind, scores: Sequence[float]) -> VariantResult:
    answers = [[VariantAnswer(text="2", calls=1, seconds=1.0, cost_usd=0.25)] for _ in scores]
    return VariantResult(name=name, kind=kind, answers=answers, scores=list(scores))


@pytest.fixture
def summary() -> ComparisonSummary:
    found = [result("the mixture", "mixture", [1.0] * 9 + [0.0]), result("a alone", "member", [1.0, 0.0] * 5)]
    return ComparisonSummary.of(ComparisonResult(results=found, tally=None))


def test_a_person_gets_a_table_and_the_verdict(
    summary: ComparisonSummary, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_moa.cli.commands.eval.compare.is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "200")
    _show(summary, None)
    shown = capsys.readouterr().out
    assert "| " not in shown
    assert "the mixture" in shown
    assert "a alone" in shown
    assert " ".join(summary.verdicts[0].split()) in " ".join(shown.split())


def test_a_script_gets_markdown_or_the_document(summary: ComparisonSummary, capsys: pytest.CaptureFixture[str]) -> None:
    _show(summary, None)
    assert "| a alone | " in capsys.readouterr().out
    _show(summary, '{"a": 1}')
    assert capsys.readouterr().out == '{"a": 1}'
