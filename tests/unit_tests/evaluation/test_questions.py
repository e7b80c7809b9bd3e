"""Question files: what they can contain, and the errors for everything else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from langchain_moa.batch.limits import EvaluationError
from langchain_moa.data.rows import RowError
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
    assert (first.id, first.text, first.answers, first.place) == ("1", "1 + 1?", ("2",), f"{path}, line 1")
    assert (second.id, second.answers) == ("x", ("Paris", "paris"))
    assert [(each.type, each.text) for each in second.messages] == [("system", "Be brief."), ("human", "Capital?")]
    assert (third.answers, third.place) == (("7",), f"{path}, line 4")
    assert len(read_questions(path, limit=2)) == 2


def test_keys_of_ones_own(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"frage": "1 + 1?", "antwort": "2"}')
    [question] = read_questions(path, question_field="frage", answer_field="antwort")
    assert (question.text, question.answers) == ("1 + 1?", ("2",))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "1?", "answer"', r"not JSON: .* at column 28"),
        ('["1?", "2"]', "it is list; it must be an object"),
        (
            '{"answer": "2"}',
            r"no question: it has none of the keys question, input, .*, only 'answer'; rename one",
        ),
        (
            '{"question": "1?"}',
            "no answer: it has none of the keys answer, target, only 'question'; rename one, or name it with --answer-field",
        ),
        ('{"question": "1?", "answer": ""}', "the answer is empty"),
        ('{"question": "1?", "answer": null}', "the answer is empty"),
        ('{"question": "1?", "answer": []}', "the answer is empty"),
        ('{"question": "1?", "answer": " "}', "the answer is empty"),
        ('{"question": "1?", "answer": ["2", ""]}', "the answer is empty"),
        ('{"question": "1?", "answer": {"value": 2}}', r'the answer must be a text, .*, not \{"value": 2\}'),
        ('{"question": "1?", "answer": [null, 2]}', "the answer must be a text, .*, not null"),
        ('{"question": "1?", "answer": NaN}', "the answer must be a text, .*, not NaN"),
        ('{"question": "1?", "answer": -Infinity}', "the answer must be a text, .*, not -Infinity"),
        ('{"question": " ", "answer": "2"}', "the question must be a text that is not empty"),
        ('{"question": 1, "answer": "2"}', "the question must be a text"),
        (r'{"question": "\ud83d?", "answer": "2"}', r"the question has an incomplete character, \\ud83d"),
        (r'{"question": "1?", "answer": "\ud83d"}', r"the answer has an incomplete character, \\ud83d"),
        (r'{"question": "1?", "answer": "2", "system": "\ud83d"}', r"system has an incomplete character, \\ud83d"),
        ('{"question": "1?", "answer": "2", "system": 3}', "system must be a text, not int"),
        ('{"question": "1?", "answer": "2", "id": 1}', "the id '1' is also in line 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = _file(tmp_path, '{"question": "0?", "answer": "0"}', line)
    with pytest.raises(RowError, match=rf"questions.jsonl, line 2: {reason}"):
        read_questions(path)


def test_a_judge_needs_no_answers(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"question": "Write a poem."}')
    assert read_questions(path, needs_answers=False)[0].answers == ()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_what_python_takes_for_a_line_break_may_stand_in_a_question(tmp_path: Path, separator: str) -> None:
    text = f"One line{separator}or two?"
    [question] = read_questions(_file(tmp_path, f'{{"question": "{text}", "answer": "one"}}'))
    assert question.text == text


def test_a_list_of_objects_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = '\ufeff[\n{"question": "1?", "answer": true},\n{"question": "2?", "answer": 0}\n]\n'
    assert [question.answers for question in read_questions(_file(tmp_path, text))] == [("True",), ("0",)]


def test_the_same_text_with_another_system_message_is_another_question(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"question": "1?", "answer": "1"}', '{"question": "1?", "answer": "1", "system": "In words."}')
    assert len(read_questions(path)) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RowError, match=r"none.jsonl: there is no such file; give a JSONL or CSV file, or gsm8k"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(RowError, match="has no rows"):
        read_questions(_file(tmp_path, "", ""))
    (tmp_path / "questions.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RowError, match="it is not UTF-8"):
        read_questions(tmp_path / "questions.jsonl")


def test_gsm8k_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EvaluationError, match=r"pip install datasets; or download test.jsonl"):
        gsm8k()


def test_a_question_that_stands_there_twice_is_skipped_and_named(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"question": "0?", "answer": "0"}', '{"question": "0?", "answer": "1", "id": "x"}')
    with pytest.warns(UserWarning, match=r"questions.jsonl, line 2 is skipped: the same question is in line 1"):
        [question] = read_questions(path)
    assert question.answers == ("0",)


def test_many_that_stand_there_twice_are_one_warning(tmp_path: Path) -> None:
    path = _file(tmp_path, *['{"question": "0?", "answer": "0"}'] * 40)
    with pytest.warns(UserWarning, match=r"line 2 is skipped: the same question is in line 1, and 38 more") as warned:
        assert len(read_questions(path)) == 1
    assert len(warned) == 1


def test_a_table_of_questions_is_read_with_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text('\ufeffquestion,answer,level\n"What is\n1 + 1?",2,easy\n"A, or B?",B,hard\n')
    one, two = read_questions(path)
    assert (one.text, one.answers, one.fields["level"]) == ("What is\n1 + 1?", ("2",), "easy")
    assert two.place.endswith("questions.csv, line 4")
    path.write_text("question,answer\n1?,2,3\n")
    with pytest.raises(RowError, match=r"questions\.csv, line 2: it has more fields than the first line names"):
        read_questions(path)
    path.write_text("question,answer\n")
    with pytest.raises(RowError, match="has no rows"):
        read_questions(path)
