"""The public names: each exists, they are sorted, and each is imported only on first access."""

from __future__ import annotations

import subprocess
import sys

import langchain_moa
from langchain_moa import strategies


def test_every_public_name_is_there() -> None:
    assert langchain_moa.__all__ == sorted(langchain_moa.__all__) == sorted(langchain_moa._HOMES)
    for name in langchain_moa.__all__:
        assert getattr(langchain_moa, name).__name__ == name
    assert set(dir(langchain_moa)) == set(langchain_moa.__all__)


def test_every_public_name_shows_how_it_is_used() -> None:
    without = [name for name in langchain_moa.__all__ if "```python" not in (getattr(langchain_moa, name).__doc__ or "")]
    assert without == []


def test_what_strategies_are_made_of_is_public() -> None:
    assert strategies.__all__ == sorted(strategies.__all__) == sorted(strategies._HOMES) == sorted(dir(strategies))
    types = {"Extract", "Inquiry", "Model", "Similarity"}
    for name in {*strategies.__all__} - types:
        assert getattr(strategies, name).__name__ == name
        # `Aggregation` shows how it is used.
        assert name == "AnswerGraph" or "```python" in (getattr(strategies, name).__doc__ or ""), name


def test_the_import_brings_nothing_heavy_along() -> None:
    found = "import sys, langchain_moa; print(*sys.modules)"
    light = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)  # noqa: S603
    assert not {"langchain_core", "langgraph", "pydantic"} & set(light.stdout.split())
    found = "import sys; from langchain_moa import ChatMoA, create_moa; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)  # noqa: S603
    heavy = {"langchain", "langchain_openai", "openai", "typer", "genai_prices", "xllamacpp", "rapidfuzz", "sklearn"}
    assert not heavy & set(loaded.stdout.split())
