"""The formats of the official harnesses: the questions they ask and the files they read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.data.rows import Row, RowError, read_rows
from langchain_moa.evaluation.harnesses import HARNESSES, Answered, ArenaHard, HarnessWithReferences

DATA = os.environ.get("LANGCHAIN_MOA_DATA")
# Files with the fields that the harnesses' own have, and texts of ours.
BY_HAND = Path(__file__).with_name("formats")

QUESTIONS: dict[str, dict[str, Any]] = {
    "alpaca_eval": {"instruction": "Name a bird.", "dataset": "own", "output": "A baseline's", "generator": "baseline"},
    "mt_bench": {"question_id": 81, "category": "writing", "turns": ["Write.", "Shorter."]},
    "arena_hard": {"uid": "0a", "category": "hard", "cluster": "birds", "prompt": "Name a bird."},
    "flask": {"idx": 7, "instruction": "Name a bird.", "answer": "A tit", "task": "own", "skill": [], "domain": []},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "alpaca_eval": {"instruction": "Name a bird.", "dataset": "own", "output": "A tit.", "generator": "moa"},
    "mt_bench": {
        "question_id": 81,
        "answer_id": "*",
        "model_id": "moa",
        "choices": [{"index": 0, "turns": ["A tit.", "Tit."]}],
        "tstamp": 5.0,
    },
    "arena_hard": {
        "uid": "0a",
        "ans_id": "*",
        "model": "moa",
        "messages": [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": {"answer": "A tit."}}],
        "tstamp": 5.0,
    },
    "flask": {"question_id": 7, "text": "A tit.", "model_id": "moa"},
}


def row(data: dict[str, Any]) -> Row:
    return Row("the file", 3, data)


def answer_to(name: str, data: dict[str, Any]) -> dict[str, Any]:
    harness = HARNESSES[name]
    question = harness.question(row(data))
    texts = ("A tit.", "Tit.")[: len(question.turns)]
    return harness.answer(Answered(question=question, texts=texts, model="moa", time=5.0))


@pytest.mark.parametrize("name", HARNESSES)
def test_a_row_of_the_answer_file(name: str) -> None:
    answer = answer_to(name, QUESTIONS[name])
    ids = {key for key, value in ANSWERS[name].items() if value == "*"}
    assert {**answer, **dict.fromkeys(ids, "*")} == ANSWERS[name]
    assert list(answer) == list(ANSWERS[name])
    assert all(answer[key] for key in ids)


@pytest.mark.parametrize("name", HARNESSES)
def test_the_document_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    answer = {**ANSWERS[name], "note": "a line\u2028separator, é"}
    file = tmp_path / "answers"
    file.write_text(HARNESSES[name].document([answer, answer]), encoding="utf-8")
    assert [row.data for row in read_rows(file)] == [answer, answer]
    if name == "alpaca_eval":
        assert json.loads(file.read_text(encoding="utf-8")) == [answer, answer]


@pytest.mark.parametrize("name", [name for name, harness in HARNESSES.items() if isinstance(harness, HarnessWithReferences)])
def test_an_answer_file_is_read_as_references(name: str) -> None:
    harness = HARNESSES[name]
    assert isinstance(harness, HarnessWithReferences)
    assert harness.reference(row(ANSWERS[name])) == (harness.question(row(QUESTIONS[name])).id, "A tit.")


@pytest.mark.parametrize(("name", "settings"), [("alpaca_eval", 2048), ("arena_hard", 2048), ("flask", 2048)])
def test_the_papers_settings(name: str, settings: int) -> None:
    question = HARNESSES[name].question(row(QUESTIONS[name]))
    assert (question.temperature, question.max_tokens) == (0.7, settings)


@pytest.mark.parametrize(
    ("category", "temperature"),
    [
        *(("writing", 0.7), ("roleplay", 0.7), ("extraction", 0.0), ("math", 0.0), ("coding", 0.0), ("reasoning", 0.0)),
        *(("stem", 0.1), ("humanities", 0.1), ("something else", 0.7)),
    ],
)
def test_mt_bench_has_a_temperature_for_each_category(category: str, temperature: float) -> None:
    question = HARNESSES["mt_bench"].question(row({**QUESTIONS["mt_bench"], "category": category}))
    assert (question.temperature, question.max_tokens) == (temperature, 1024)
    own = HARNESSES["mt_bench"].question(row({**QUESTIONS["mt_bench"], "required_temperature": 0.3}))
    assert own.temperature == 0.3


def test_flask_had_other_names_once() -> None:
    question = HARNESSES["flask"].question(row({"question_id": 7, "text": "Name a bird.", "answer": "A tit"}))
    assert (question.id, question.turns) == (7, ("Name a bird.",))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        *(("alpaca_eval", "instruction"), ("arena_hard", "uid"), ("arena_hard", "prompt"), ("flask", "idx")),
        *(("flask", "instruction"), ("mt_bench", "question_id"), ("mt_bench", "category"), ("mt_bench", "turns")),
    ],
)
def test_a_question_that_lacks_something_names_it(name: str, missing: str) -> None:
    data = {key: value for key, value in QUESTIONS[name].items() if key != missing}
    with pytest.raises(RowError, match=f"the file, line 3: the field '{missing}' is missing"):
        HARNESSES[name].question(row(data))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"turns": []}, "'turns' must be a list of at least one text"),
        ({"turns": ["Write.", " "]}, "'turns' must be a list of at least one text"),
        ({"turns": ["Write.", 2]}, "'turns' must be a list of at least one text"),
        ({"required_temperature": "hot"}, "'required_temperature' must be a number"),
    ],
)
def test_mt_bench_turns_that_are_none(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        HARNESSES["mt_bench"].question(row({**QUESTIONS["mt_bench"], **changed}))


@pytest.mark.parametrize("messages", [[], ["text"], [{"content": "text"}], [{"content": {"answer": None}}]])
def test_an_arena_hard_answer_that_is_none(messages: list[Any]) -> None:
    with pytest.raises(RowError, match="must end with a message whose content has an 'answer'"):
        ArenaHard().reference(row({"uid": "0a", "messages": messages}))


def test_another_text_or_setting_is_another_question() -> None:
    def key(**changed: Any) -> str:
        return HARNESSES["mt_bench"].question(row({**QUESTIONS["mt_bench"], **changed})).key

    keys = [key(), key(turns=["Write.", "Longer."]), key(category="math"), key(question_id=82)]
    assert len(set(keys)) == 4
    assert key() == keys[0]


def _rows(formats: Path, name: str, kind: str) -> list[Row]:
    """Return the rows of the harness's own file; in AlpacaEval's, questions and answers are the same rows."""
    files = [file for file in formats.glob(f"{name}_*") if kind in file.name or "outputs" in file.name]
    return read_rows(files[0]) if files else []


@pytest.mark.parametrize(
    "formats",
    [
        BY_HAND,
        pytest.param(
            Path(DATA or "") / "formats",
            marks=pytest.mark.skipif(DATA is None, reason="LANGCHAIN_MOA_DATA names no folder with the harnesses' own files"),
        ),
    ],
    ids=["by hand", "official"],
)
class TestFiles:
    @pytest.mark.parametrize("name", HARNESSES)
    def test_questions_are_read(self, formats: Path, name: str) -> None:
        rows = _rows(formats, name, "question")
        questions = [HARNESSES[name].question(row) for row in rows]
        assert len({question.key for question in questions}) == len(rows) > 2

    @pytest.mark.parametrize("name", HARNESSES)
    def test_answers_have_the_same_fields_of_the_same_kinds(self, formats: Path, name: str) -> None:
        rows = _rows(formats, name, "answer")
        if not rows and formats != BY_HAND:
            pytest.skip("there is no official answer file")
        assert rows
        ours = shape(answer_to(name, QUESTIONS[name]))
        for each in rows:
            assert shape(each.data) == ours
            if isinstance(harness := HARNESSES[name], HarnessWithReferences):
                assert harness.reference(each)[1]


def shape(value: Any) -> Any:
    """Return the types of the values at each path; lists of one type count as one."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__
