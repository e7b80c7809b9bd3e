"""Question files: what may stand in them, and what is said of the rest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from langchain_moa.evaluation.errors import EvaluationError
from langchain_moa.evaluation.questions import gsm8k, read_questions

if TYPE_CHECKING:
    from pathlib import Path


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_usual_keys_are_found(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        '{"question": "1 + 1?", "answer": 2}',
        "",
        '{"input": "Capital?", "target": ["Paris", "paris"], "system": "Be brief.", "id": "x"}',
        r'{"prompt": "How many?", "answer": "3 and 4 are 7.\n#### 7"}',
    )
    first, second, third = read_questions(path)
    assert (first.id, first.text, first.answers, first.line) == ("1", "1 + 1?", ("2",), 1)
    assert (second.id, second.answers) == ("x", ("Paris", "paris"))
    assert [(each.type, each.text) for each in second.messages] == [("system", "Be brief."), ("human", "Capital?")]
    assert (third.answers, third.line) == (("7",), 4)
    assert len(read_questions(path, limit=2)) == 2


def test_keys_of_ones_own(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"frage": "1 + 1?", "antwort": "2"}')
    [question] = read_questions(path, question_field="frage", answer_field="antwort")
    assert (question.text, question.answers) == ("1 + 1?", ("2",))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "1?", "answer"', r"no JSON .* at column 28"),
        ('["1?", "2"]', "give an object .*, not list"),
        ('{"answer": "2"}', r"no question: none of question, input, .* but 'answer'; name its key by --question-field"),
        ('{"question": "1?"}', "no answer: none of answer, target"),
        ('{"question": "1?", "answer": ""}', "the answer is empty"),
        ('{"question": "1?", "answer": null}', "the answer is empty"),
        ('{"question": "1?", "answer": []}', "the answer is empty"),
        ('{"question": " ", "answer": "2"}', "the question is no text"),
        ('{"question": 1, "answer": "2"}', "the question is no text"),
        ('{"question": "1?", "answer": "2", "system": 3}', "system must be a text, not int"),
        ('{"question": "1?", "answer": "2", "id": 1}', "the id '1' stands in line 1, too"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = _file(tmp_path, '{"question": "0?", "answer": "0"}', line)
    with pytest.raises(EvaluationError, match=rf"questions.jsonl, line 2: {reason}"):
        read_questions(path)


def test_a_judge_needs_no_answers(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"question": "Write a poem."}')
    assert read_questions(path, needs_answers=False)[0].answers == ()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="No such file or directory; give a JSONL file, or gsm8k"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(EvaluationError, match="there are no questions in it"):
        read_questions(_file(tmp_path, "", ""))
    (tmp_path / "questions.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="it is not UTF-8"):
        read_questions(tmp_path / "questions.jsonl")


def test_gsm8k_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EvaluationError, match=r"pip install datasets; or download test.jsonl"):
        gsm8k()
