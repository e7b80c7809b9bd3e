from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from langchain_moa.local import CATALOG

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LANGCHAIN_MOA_CACHE", str(folder))
    return folder


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return real("json") if name == "xllamacpp" else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


@pytest.fixture
def pulled(llama: None, cache: Path) -> Path:
    cache.mkdir()
    for model in CATALOG.values():
        (cache / model.file).write_bytes(b"GGUF")
    return cache
