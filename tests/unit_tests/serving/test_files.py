"""Files with several mixtures, and how a server applies the options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_moa import ChatMoA
from langchain_moa.cli.exit_codes import UsageError
from langchain_moa.cli.mixture_arguments import MixtureArguments
from langchain_moa.mixture.config import read_mixtures

if TYPE_CHECKING:
    from pathlib import Path

ONE = "{proposers: [openai:a], aggregator: openai:b, num_layers: 1}"
TWO = f"mixtures:\n  fast: {ONE}\n  team/careful: {ONE}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-this-test")


def write(folder: Path, text: str, name: str = "moa.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_names_of_mixtures_in_files(tmp_path: Path) -> None:
    assert list(read_mixtures(ChatMoA, write(tmp_path, ONE, "quick.yaml"), {})) == ["quick"]
    several = read_mixtures(ChatMoA, write(tmp_path, TWO), {"num_layers": 2})
    assert [(name, moa.num_layers) for name, moa in several.items()] == [("fast", 2), ("team/careful", 2)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mixtures: {}", "`mixtures` must be the only key"),
        (f"mixtures: [{ONE}]", "`mixtures` must be the only key"),
        ("mixtures: {fast: openai:a}", "`mixtures` must be the only key"),
        (f"num_layers: 1\nmixtures: {{fast: {ONE}}}", "`mixtures` must be the only key"),
        ("mixtures: {fast: {proposers: [openai:a]}}", "mixture 'fast': aggregator is missing"),
        ("mixtures: {fast: {api_key: abc}}", "has 'api_key'; keys do not belong in files"),
    ],
)
def test_errors_in_a_file_name_it(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_mixtures(ChatMoA, write(tmp_path, text), {})
    assert "moa.yaml" in str(caught.value)


def test_what_a_server_serves(tmp_path: Path) -> None:
    assert list(MixtureArguments(proposers=["openai:a"], aggregator="openai:b").served()) == ["moa"]
    assert list(MixtureArguments(preset="openai").served()) == ["openai"]
    file = write(tmp_path, TWO)
    assert list(MixtureArguments().served()) == ["fast", "team/careful"]
    assert list(MixtureArguments(config=file).served()) == ["fast", "team/careful"]
    with pytest.raises(UsageError, match="give either --config or --preset"):
        MixtureArguments(config=file, preset="openai").served()
