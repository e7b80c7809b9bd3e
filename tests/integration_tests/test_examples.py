"""The examples and the README, run as programs without a key or with one."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from langchain_moa.local import CATALOG, is_present
from tests.loopback import able
from tests.source import tree_of
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from tests.loopback import Loopback

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[!_]*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)

# What each example prints, whichever model answers. A small model may return an empty answer: a failed reference.
PRINTS = {
    "agent_with_tools": [],
    "consult_on_demand": [],
    "drawing": [r"flowchart LR", r"layer_2_proposer_2", r"As a picture, to open in a browser: .*moa\.svg"],
    "lcel_pipeline": [r"What is a volcano\?\n\S", r"What is a shadow\?\n\S"],
    "own_models_per_layer": [
        r"Layer 1, optimist \(.*\):\n\s*\S",
        r"Layer 1, sceptic \(.*\):\n\s*\S",
        r"Layer 1, engineer \(.*\):\n\s*\S",
        r"Layer 2, editor \(.*\):\n\s*\S",
        r"Answer \(.*\):\n\s*\S",
    ],
    "quickstart": [
        r"Answer: \s*\S",
        r"It took 3 calls:\n(  proposer .* (ok|failed) .* s\n){2}  aggregator .* ok .* s\n",
        r"and [1-9][\d,]* tokens",
    ],
    "self_moa": [*(rf"Sample {number} of 4:\n\s*\S" for number in (1, 2, 3, 4)), r"Answer from the samples:\n\s*\S"],
    "subgraph": [r"Answer: \s*\S", r"Check: from [12] references; the year is (correct|missing)"],
    "tuning": [
        r"Use the majority of (one|two|three), (one|two|three), (one|two|three): its gain over (one|two|three), ",
        r"On questions that it was not chosen by, it gains \+\d",
        r"proposers:\n([ -] - replay:answers\.jsonl#(one|two|three)\n){3}prompt: blind\nstop_when:\n  agreement:\n",
        r"aggregation:\n  vote:\n    extract: number\n    over: all",
        r"\nThe answer is \d+\.\nThe answer is \d+\. \{.*'by': 'vote'",
        r"\nServed: The answer is \d+\.",
    ],
}


def run(program: Path | str, folder: Path, **env: str) -> str:
    """Run a program, or its source text, as a newcomer does; return its output."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.endswith("_API_KEY") and not name.startswith("LANGSMITH")
    }
    arguments = [str(program)] if isinstance(program, Path) else ["-c", program]
    done = subprocess.run(  # noqa: S603  # our own programs
        [sys.executable, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def example(name: str) -> Path:
    return ROOT / "examples" / f"{name}.py"


def check(name: str, printed: str) -> None:
    for pattern in PRINTS[name]:
        assert re.search(pattern, printed), f"{pattern!r} is not in what it prints:\n{printed}"


@pytest.fixture
def together(loopback: Loopback) -> dict[str, str]:
    """The environment of a user with a Together key; the loopback server replaces Together."""
    for model in ("Qwen/Qwen3.8-Flash", "zai-org/GLM-5.3-Flash", "deepseek-ai/DeepSeek-V4.1-Flash"):
        loopback.script(model, able)
    return {"TOGETHER_API_KEY": "a-key-of-this-test", "TOGETHER_API_BASE": loopback.url}


@pytest.fixture
def local_models() -> None:
    """Skip if the local models are not installed or not downloaded."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip('llama.cpp is not installed: pip install "langchain-moa[local]"')
    if missing := [name for name, model in CATALOG.items() if not is_present(model)]:
        pytest.skip(f"not fetched: langchain-moa models pull {' '.join(missing)}")


def test_every_example_is_tested() -> None:
    assert set(PRINTS) == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_says_what_it_shows(name: str) -> None:
    file = example(name)
    assert len(file.read_text(encoding="utf-8").splitlines()) < 60
    assert ast.get_docstring(tree_of(file))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_on_the_local_models(name: str, tmp_path: Path, local_models: None) -> None:
    check(name, run(example(name), tmp_path))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_with_a_key(name: str, tmp_path: Path, together: dict[str, str], loopback: Loopback) -> None:
    printed = run(example(name), tmp_path, **together)
    check(name, printed)
    assert "local:" not in printed
    assert "a-key-of-this-test" not in printed
    # The drawing calls no model, and the tuning replays recorded answers.
    assert (len(loopback.requests) == 0) == (name in ("drawing", "tuning"))


def test_the_agent_calls_its_tools_with_a_key_and_says_how_to_set_one_without(tmp_path: Path, together: dict[str, str]) -> None:
    without = run(example("agent_with_tools"), tmp_path)
    assert "cannot call tools" in without
    assert "export TOGETHER_API_KEY=" in without
    printed = run(example("agent_with_tools"), tmp_path, **together)
    assert "calls add with {'a': 17, 'b': 25}" in printed
    assert "add returns 42" in printed
    assert "1/2 proposers done" in printed
    assert "2/2 proposers done" in printed
    assert re.search(r"Answer: .*42", printed)


def test_the_agent_consults_the_mixture_only_when_it_is_asked_to(
    tmp_path: Path, together: dict[str, str], loopback: Loopback
) -> None:
    printed = run(example("consult_on_demand"), tmp_path, **together)
    assert printed.count("consulted: 3 calls") == 1
    assert printed.index("Question: Consult") < printed.index("consulted: 3 calls")
    # The agent's own model answers the easy question by itself; the hard one takes two steps and a mixture of three calls.
    assert len(loopback.requests) == 1 + 2 + 3


def test_the_drawing_is_a_picture(tmp_path: Path) -> None:
    run(example("drawing"), tmp_path, OPENAI_API_KEY="a-key-of-this-test")
    picture = (tmp_path / "moa.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "gpt-6-luna" in picture


def test_the_examples_ask_models_that_the_presets_name() -> None:
    named = set(re.findall(r"\"((?:together|openai|local):[^\"]+)\"", (ROOT / "examples" / "_models.py").read_text("utf-8")))
    folder = ROOT / "langchain_moa" / "presets"
    known = {name for file in folder.glob("*.yaml") for name in yaml.safe_load(file.read_text("utf-8"))["proposers"]}
    assert len(named) >= 6
    assert named - {"anthropic:claude-sonnet-5"} <= known


# The README.


def test_the_readmes_python_runs_on_the_local_models(tmp_path: Path, local_models: None) -> None:
    (block,) = [block for block in BLOCKS if "local" in block]
    assert run(block, tmp_path).strip()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 120


def test_the_readmes_links_to_files_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith(("https://", "#"))]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
