"""Requests are split into batch jobs within the providers' limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.batch import job_apis
from langchain_moa.batch.job_apis import JobRequest, split

if TYPE_CHECKING:
    import pytest

ONE = st.tuples(st.sampled_from(["/v1/chat/completions", "/v1/responses"]), st.sampled_from("ab"), st.text(max_size=50))


def requests(given: list[tuple[str, str, str]]) -> list[JobRequest]:
    return [
        JobRequest(str(number), "", endpoint, {"model": model, "text": text})
        for number, (endpoint, model, text) in enumerate(given)
    ]


@given(st.lists(ONE, max_size=30), st.integers(1, 5))
def test_every_request_is_in_one_job_of_its_endpoint_and_model(given: list[tuple[str, str, str]], most: int) -> None:
    jobs = split(requests(given), most_lines=most)
    assert sorted(int(line.id) for job in jobs for line in job) == [*range(len(given))]
    assert all(1 <= len(job) <= most for job in jobs)
    assert all(len({line.group for line in job}) == 1 for job in jobs)


def test_a_job_is_not_longer_than_a_file_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_apis, "_MOST_BYTES", 100)
    sizes = [len(job) for job in split(requests([("/v1/responses", "a", "x" * size) for size in (1, 1, 200, 1, 1, 1)]))]
    assert sizes == [2, 1, 3]
