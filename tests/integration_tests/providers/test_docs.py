"""The page on models, keys and servers: its code runs, and its table is correct."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from langchain.chat_models import base
from pydantic import SecretStr

from langchain_moa import Mixture
from langchain_moa.members import keys

if TYPE_CHECKING:
    from tests.loopback import Loopback

PAGE = (Path(__file__).parents[3] / "docs" / "keys.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+):` \| (.*?) \| (.*?) \| (.*?) ?\|$", PAGE, re.MULTILINE)


def test_the_python_of_the_page_runs(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", loopback.url)
    reader: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.replace("openai:gpt-", "openai:loopback-"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/keys.md", "exec"), reader)  # noqa: S102  # our own page
    assert capsys.readouterr().out == "loopback-6.1-sol says: Why is the sky blue?\n" * 2
    assert [call.messages[-1]["content"] for call in loopback.calls("loopback-6-luna")] == ["Why is the sky blue?"] * 2
    assert [len(call.messages) for call in loopback.calls("loopback-6-luna")] == [2, 1]


def test_the_files_of_the_page_are_mixtures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("LLM_EXAMPLE_KEY", "of-example")
    (tmp_path / "experts").mkdir()
    inner = {"proposers": ["openai:gpt-6-luna"], "aggregator": "openai:gpt-6-luna", "num_layers": 3}
    (tmp_path / "experts" / "physics.yaml").write_text(yaml.safe_dump(inner))
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    mixtures = []
    for block in blocks:
        (tmp_path / "moa.yaml").write_text(block)
        mixtures.append(Mixture.from_config(tmp_path / "moa.yaml"))
    named, own, of_mixtures = (mixture.members for mixture in mixtures)
    models: list[Any] = [member.runnable for member in (*named.layers[0], *own.layers[0])]
    sent = [model.openai_api_key.get_secret_value() for model in models]
    assert sent == ["of-example", "test", "none", "none", "none", "none"]
    first, *others = own.layers[0]
    assert first.limiter is own.aggregator.limiter is not None
    assert all(other.limiter is not first.limiter for other in others)
    inside: Any = of_mixtures.layers[0][1].runnable
    assert inside.num_layers == 1


@pytest.mark.parametrize(("provider", "package", "key", "gateway"), ROWS)
def test_the_table_names_packages_and_variables(provider: str, package: str, key: str, gateway: str) -> None:
    if provider == "local":
        return
    module = base._BUILTIN_PROVIDERS[provider][0].partition(".")[0].replace("_", "-")
    assert package == ("included" if module in {"langchain-openai", "langchain-together"} else f"`pip install {module}`")
    known = keys._PROVIDERS[provider]
    assert gateway == f"`{known.addresses[0]}`"
    of_page = set(re.findall(r"`(\w+)`", key))
    of_code = {name for text in known.variables for name in text.split(" and ")}
    assert of_page <= of_code
    assert of_page or not known.needs_key


def test_every_provider_that_is_known_is_in_the_table() -> None:
    others = {"bedrock", "anthropic_bedrock", *keys.SERVERS}
    assert {provider for provider, *_ in ROWS} == {*keys._PROVIDERS, "local"} - others


@pytest.mark.parametrize("page", ["keys.md", "local-servers.md"])
def test_the_tables_of_own_servers_are_true(page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    for name in keys.SERVERS:
        (row,) = re.findall(rf"^\|.*`{name}:NAME`.*$", text, re.MULTILINE)
        known = keys._PROVIDERS[name]
        assert f"`{known.default_address}` | `{known.addresses[0]}`" in row
        assert f"`{known.variables[0]}`" in text


def test_a_missing_package_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    # In Python, an entry of None means that a module cannot be imported.
    monkeypatch.setitem(__import__("sys").modules, "langchain_groq", None)
    base._get_chat_model_creator.cache_clear()
    with pytest.raises(ImportError, match=r"proposers: item 1: .*pip install langchain-groq"):
        Mixture(proposers=["groq:qwen/qwen3-32b"], aggregator="openai:x", api_key=SecretStr("none"))
