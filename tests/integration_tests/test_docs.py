"""The code of the README and of the pages that lead in runs, one block after the other, as a reader would paste it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from langchain_moa import Mixture
from langchain_moa.members.proposer import Proposer
from langchain_moa.mixture.config import read_mixtures
from tests.loopback import able

if TYPE_CHECKING:
    from tests.loopback import Loopback

ROOT = Path(__file__).parents[2]

# What the blocks of each page print, with a server that replaces all providers.
PRINTS = {
    "README.md": ["loopback-6.1-sol says: Why is the sky blue?", "total_tokens", "loopback-6.1-sol found: 42"],
    "docs/agents.md": [
        "loopback-6.1-sol found: 42",
        "loopback-6-luna found: ",
        "loopback-6.1-sol says: Why is the sky blue?",
        "2/2 proposers done",
        "aggregated\n",
        "1 openai:loopback-6-luna",
        "aggregating ",
        "openai:loopback-6-luna ok ",
    ],
    "docs/chat-model.md": [
        "loopback-6.1-sol says: What is a volcano?",
        "36\n",
        "'total_tokens': ",
        "openai:loopback-6-luna ok ",
    ],
    "docs/index.md": ["loopback-6.1-sol says: Why is the sky blue?"],
    "docs/local-servers.md": ["Qwen3-8B says: Why is the sky blue?", "qwen3-8b says: Why is the sky blue?"],
    "docs/quickstart.md": ["loopback-6.1-sol says: Why is the sky blue?", "1 openai:loopback-6-luna ok ", "total_tokens"],
}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    # With their real names, OpenAI's client would call some of them through an API that the loopback server lacks.
    text = text.replace("openai:gpt-", "openai:loopback-")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def _providers(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's server replaces all providers, and all local servers except Ollama."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    for name in ("OPENAI", "VLLM", "LMSTUDIO", "LLAMACPP"):
        monkeypatch.setenv(f"{name}_BASE_URL", loopback.url)
    monkeypatch.setenv("LLM_EXAMPLE_KEY", "test")
    loopback.script("*", able)


@pytest.mark.parametrize("page", PRINTS)
def test_the_python_of_a_page_runs(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "yaml"):
        if text.startswith("# moa.yaml"):
            (tmp_path / "moa.yaml").write_text(text, encoding="utf-8")
    reader: dict[str, Any] = {}
    for block in blocks(page, "python"):
        if "ollama:" in block:
            # Created, but not called: the server does not support Ollama's protocol.
            block = re.sub(r"^print\(.*\n", "", block, flags=re.MULTILINE)  # noqa: PLW2901
        if '"local' not in block:
            exec(compile(block, page, "exec"), reader)  # noqa: S102  # our own page
    said = capsys.readouterr().out
    for text in PRINTS[page]:
        assert text in said


def test_the_page_on_files_is_true(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = "docs/config-file.md"
    monkeypatch.chdir(tmp_path)
    first, *others = blocks(page, "yaml")
    (tmp_path / "moa.yaml").write_text(first, encoding="utf-8")
    (code,) = blocks(page, "python")
    reader: dict[str, Any] = {}
    exec(compile(code, page, "exec"), reader)  # noqa: S102  # our own page
    assert (reader["moa"].deadline, reader["slower"].deadline) == (60, None)
    for text in others[:2]:
        (tmp_path / "moa.yaml").write_text(text, encoding="utf-8")
        assert Mixture.from_config("moa.yaml").members.aggregator.id == "openai:loopback-6.1-sol"
    (tmp_path / "both.yaml").write_text(others[2], encoding="utf-8")
    assert list(read_mixtures(Mixture, "both.yaml", {})) == ["fast", "careful"]


def test_the_page_on_files_has_every_key_of_a_member() -> None:
    table = (ROOT / "docs/config-file.md").read_text(encoding="utf-8")
    listed = {name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert listed - {"preset", "config"} == {name for name in Proposer.__dataclass_fields__ if name != "_"}


def test_an_unknown_key_is_the_error_of_the_page_on_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks("docs/config-file.md", "text")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moa.yaml").write_text("proposers: [openai:a]\naggregater: openai:a\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(text.strip())):
        Mixture.from_config("moa.yaml")


def test_yaml_and_python_of_a_local_server_are_the_same_mixture() -> None:
    page = "docs/local-servers.md"
    pairs = list(zip(blocks(page, "yaml"), blocks(page, "python"), strict=True))
    assert len(pairs) == 5
    for text, code in pairs[:4]:
        reader: dict[str, Any] = {}
        exec(compile(re.sub(r"^print\(.*\n", "", code, flags=re.MULTILINE), page, "exec"), reader)  # noqa: S102  # our own page
        assert Mixture(**yaml.safe_load(text)).describe() == reader["moa"].describe()
    assert Mixture(**yaml.safe_load(pairs[4][0])).members


def test_the_page_on_options_lists_every_preset_and_every_option() -> None:
    from langchain_moa import presets

    page = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    listed = {name for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", cell)}
    assert listed == {*presets(), *Mixture.model_fields}


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
def test_every_page_is_in_the_navigation(page: str) -> None:
    import tomllib

    def names(nav: Any) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        items = nav if isinstance(nav, list) else [each for values in nav.values() for each in values]
        return [name for each in items for name in names(each)]

    with (ROOT / "zensical.toml").open("rb") as file:
        nav = names(tomllib.load(file)["project"]["nav"])
    assert nav.count(page.removeprefix("docs/")) == 1
