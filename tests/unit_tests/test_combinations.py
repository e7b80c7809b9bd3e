"""Combinations that the documentation rules out are rejected at construction, with an error that names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from pydantic import BaseModel

from langchain_moa import ChatMoA, Retry

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "combinations.md"
REFUSED = re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


class Answer(BaseModel):
    number: int


def search(words: str) -> str:
    """Search the web."""
    return words


def make(**fields: Any) -> None:
    bound = {name: fields.pop(name) for name in ("bind_tools", "with_structured_output") if name in fields}
    a, b = NAMES["A"], NAMES["B"]
    moa = ChatMoA(**{"proposers": [a, b], "aggregator": a, **fields})
    for name, value in bound.items():
        getattr(moa, name)(value)


NAMES: dict[str, Any] = {
    "A": "openai:a",
    "B": "openai:b",
    "MODEL": FakeListChatModel(responses=["x"]),
    "Answer": Answer,
    "Retry": Retry,
    "search": search,
    "make": make,
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")


def test_there_are_some() -> None:
    assert len(REFUSED) == 14


@pytest.mark.parametrize("fields", REFUSED)
def test_it_is_refused(fields: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the text is looked at below
        eval(f"make({fields})", NAMES)  # noqa: S307  # our own page
    said = str(refused.value)
    wrong = [name for name in re.findall(r"\b([a-z_]+)=", fields) if name.removeprefix("with_").removeprefix("bind_") in said]
    assert wrong or "settings" in said or "tools" in said
