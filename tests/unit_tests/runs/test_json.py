"""The JSON format: runs are read as they were written, and invalid data is rejected with its location."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from langchain_moa.runs import MoARun, append_run, read_runs
from tests.recorded_runs import a_run, any_run

if TYPE_CHECKING:
    from pathlib import Path


@settings(max_examples=60, deadline=None)
@given(any_run)
def test_a_run_comes_back_from_json_as_it_was(run: MoARun) -> None:
    text = run.to_json()
    assert MoARun.from_json(text) == run
    assert MoARun.from_json(text).to_json() == text
    assert json.loads(text)["version"] == 1


@settings(max_examples=25, deadline=None)
@given(any_run)
def test_any_run_has_a_page(run: MoARun) -> None:
    assert run.to_html().rstrip().endswith("</html>")


def test_files_hold_one_run_or_many(tmp_path: Path) -> None:
    one, two = a_run(id="one"), a_run(id="two")
    one.to_json(tmp_path / "one.json")
    assert MoARun.from_json(tmp_path / "one.json") == one
    assert list(read_runs(tmp_path / "one.json")) == [one]
    for run in (one, two):
        append_run(run, tmp_path / "runs.jsonl")
    assert list(read_runs(tmp_path / "runs.jsonl")) == [one, two]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 2


def test_save_goes_by_the_suffix(tmp_path: Path) -> None:
    run = a_run()
    assert run.save(tmp_path / "a.json").read_text() == run.to_json()
    assert run.save(tmp_path / "a.html").read_text() == run.to_html()
    run.save(tmp_path / "a.jsonl")
    assert list(read_runs(run.save(tmp_path / "a.jsonl"))) == [run, run]
    with pytest.raises(ValueError, match=r"'\.txt' of 'a\.txt' is not a format of runs; use one of \.html"):
        run.save(tmp_path / "a.txt")


def test_what_is_no_run_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    append_run(a_run(), file)
    later = {**json.loads(a_run().to_json()), "version": 2}
    file.write_text(f"{file.read_text()}\n{json.dumps(later)}\n")
    runs = read_runs(file)
    assert next(runs) == a_run()
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 3: not a recorded run: version: input should be 1"):
        next(runs)


def test_what_a_later_release_adds_is_passed_over() -> None:
    assert MoARun.from_json(json.dumps({**json.loads(a_run().to_json()), "mood": "good"})) == a_run()


def test_a_run_says_little_of_itself() -> None:
    assert repr(a_run()) == str(a_run()) == "MoARun(id='run-1', status='ok', calls=2, seconds=2.0)"


def test_sums_are_known_only_where_all_parts_are() -> None:
    run = a_run()
    assert run.tokens == (20, 10)
    assert run.cost_usd == pytest.approx(0.002)
    unpriced = run.calls[0].model_copy(update={"cost_usd": None})
    assert run.model_copy(update={"calls": [unpriced, run.calls[1]]}).cost_usd is None
    failed = unpriced.model_copy(update={"usage": None, "status": "failed"})
    assert run.model_copy(update={"calls": [failed, run.calls[1]]}).cost_usd == pytest.approx(0.001)
