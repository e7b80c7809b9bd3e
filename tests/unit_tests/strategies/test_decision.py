"""Decisions are parsed strictly."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict

from langchain_moa.strategies.inquiry import reads_json


class Ruling(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep: list[str]
    end: bool
    grade: float = 1


@pytest.mark.parametrize(
    "reply",
    [
        '{"keep": ["A"], "end": true}',
        ' \n{"keep": ["A"], "end": true, "grade": 1}\n',
        '```json\n{"keep": ["A"], "end": true}\n```',
        '```\n{"keep": ["A"], "end": true}\n```',
        '```JSON {"keep": ["A"], "end": true}```',
        'Sure!\n\n```json\n{"keep": ["A"], "end": true}\n```\nThat is it.',
    ],
)
def test_json_that_is_the_reply_or_its_one_block_is_read(reply: str) -> None:
    assert reads_json(Ruling)(reply) == Ruling(keep=["A"], end=True)


def test_a_fence_inside_a_text_is_a_part_of_it() -> None:
    assert reads_json(Ruling)('{"keep": ["```", "a ``` b"], "end": false}') == Ruling(keep=["```", "a ``` b"], end=False)


@pytest.mark.parametrize(
    "reply",
    [
        '{"keep": ["A"], "end": true',
        '```json\n{"keep": ["A"], "end": true',
        '```json\n{"keep": ["A"], "end": tru\n```',
        'Sure! {"keep": ["A"], "end": true}',
        '{"keep": ["A"], "end": true} No wait, {"keep": ["B"], "end": true}',
        '```json\n{"keep": ["A"], "end": true}\n``` or rather ```json\n{"keep": ["B"], "end": true}\n```',
        '{"keep": ["A"], "end": true, "end": false}',
        '{"keep": ["A"], "end": "true"}',
        '{"keep": ["A"], "end": 1}',
        '{"keep": ["A"], "end": true, "grade": "9"}',
        '{"keep": ["A"], "end": true, "grade": true}',
        '{"keep": ["A"], "end": true, "grade": NaN}',
        '{"keep": "A", "end": true}',
        '{"keep": ["A"], "end": true, "why": "it is"}',
        '["A"]',
        "[" * 100_000,
        "",
    ],
    ids=lambda reply: reply[:40],
)
def test_what_is_cut_doubtful_or_of_another_form_is_not(reply: str) -> None:
    assert reads_json(Ruling)(reply) is None
