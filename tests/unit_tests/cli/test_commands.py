"""The commands that call no model: help, version, show, draw, presets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from langchain_moa import Mixture, presets
from langchain_moa.cli.app import app
from langchain_moa.cli.commands.presets import keys_of
from langchain_moa.local import PullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

ROOT = Path(__file__).parents[3]
HEAVY = {"langchain", "langchain_openai", "langchain_together", "langgraph", "genai_prices", "openai", "xllamacpp", "yaml"}
PAIR = ["-p", "openai:a", "-p", "openai:b", "-a", "openai:c"]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "TOGETHER_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args, env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.mark.parametrize("command", ["ask", "batch", "chat", "doctor", "draw", "models", "presets", "report", "show"])
def test_every_command_has_help_with_its_exit_codes(command: str) -> None:
    listed = run("--help")
    assert re.search(rf"^│ {command} ", listed.stdout, re.MULTILINE)
    helped = run(command, "-h")
    assert helped.exit_code == 0
    for code in ("0 it worked", "1 it failed", "2 wrong usage", "130 or 143 ended by"):
        assert code in helped.stdout
        assert code in listed.stdout


def test_a_question_without_a_command_names_ask() -> None:
    done = run("Why is the sky blue?")
    assert done.exit_code == 2
    assert "to ask a question, write: langchain-moa ask 'Why is the sky blue?'" in done.stderr


@pytest.mark.parametrize(
    "command",
    [["ask"], ["batch"], ["chat"], ["doctor"], ["draw"], ["show"], ["eval", "compare"], ["eval", "generate"]],
    ids=" ".join,
)
def test_every_command_takes_the_same_options_for_its_mixture(command: list[str]) -> None:
    def panel(*args: str) -> list[list[str]]:
        """Return the mixture's options from the help text, ignoring column widths."""
        lines = run(*args, "--help").stdout.partition("─ Mixture ")[2].partition("╰")[0].splitlines()[1:]
        return [line.split() for line in lines]

    expected = panel("show")
    assert [words[1] for words in expected] == ["--config", "--preset", "--proposer", "--aggregator", "--layers", "--set"]
    assert panel(*command) == expected


def test_help_imports_nothing_that_the_package_does_not() -> None:
    program = (
        "import sys, langchain_moa\n"
        "before = set(sys.modules)\n"
        "from langchain_moa.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        f"print(sorted(new & {HEAVY}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603  # our own program
    assert done.stderr == "[]\n"


def test_the_version_is_the_package_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"1.2.3 of {name}")
    assert run("--version").stdout == run("-V").stdout == "langchain-moa 1.2.3 of langchain-moa\n"


def test_no_command_shows_what_there_is() -> None:
    shown = run()
    assert shown.exit_code == 2
    assert "Usage" in shown.output


@pytest.mark.parametrize("args", [["ask", "--no-such"], ["no-such"], ["show", "-l", "two"]])
def test_wrong_options_are_wrong_usage(args: list[str]) -> None:
    done = run(*args)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Error" in done.stderr


def test_show_writes_a_file_that_describes_the_same_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("show", *PAIR, "-l", "3", "--set", "min_references=2")
    Path("moa.yaml").write_text(shown.stdout, encoding="utf-8")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-this-test")
    mixture = Mixture.from_config("moa.yaml")
    assert (mixture.num_layers, mixture.min_references) == (3, 2)
    assert [member.id for member in mixture.members.layers[0]] == ["openai:a", "openai:b"]
    assert run("show").stdout == shown.stdout


@pytest.mark.parametrize("preset", [name for name in presets() if name != "local"])
def test_show_takes_every_preset_without_a_key(preset: str) -> None:
    shown = yaml.safe_load(run("show", "--preset", preset, "--set", "temperature=0.5").stdout)
    assert shown["temperature"] == 0.5
    assert shown["proposers"]


def test_show_checks_what_it_shows() -> None:
    done = run("show", *PAIR, "--set", "temperature=-1")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: temperature: ")
    assert "Traceback" not in done.stderr


def test_draw_prints_mermaid() -> None:
    drawn = run("draw", *PAIR, "-l", "1")
    assert drawn.exit_code == 0
    assert drawn.stdout.startswith("flowchart")
    assert "openai:a" in drawn.stdout
    assert "layer_1_proposer_2" in drawn.stdout
    assert "layer_2" not in drawn.stdout


@pytest.mark.parametrize(("name", "begins"), [("moa.svg", b"<svg"), ("moa.mmd", b"flowchart"), ("moa.md", b"```mermaid")])
def test_draw_writes_the_format_that_the_name_says(name: str, begins: bytes) -> None:
    drawn = run("draw", *PAIR, "-o", name)
    assert drawn.stdout == f"{name}\n"
    assert Path(name).read_bytes().lstrip().startswith(begins)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("moa.gif", 2, "--output moa.gif: its name must end in .svg, .png"),
        ("moa", 2, "--output moa: its name must end in"),
        ("absent/moa.svg", 2, "there is no folder absent"),
    ],
)
def test_draw_says_why_it_cannot(name: str, code: int, message: str) -> None:
    done = run("draw", *PAIR, "-o", name)
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_draw_names_the_pip_command_for_a_picture_it_cannot_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    done = run("draw", *PAIR, "-o", "moa.png")
    assert done.exit_code == 2
    assert "pip install" in done.stderr


def test_presets_are_lines_with_tabs_for_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-this-test")
    rows = dict(line.split("\t", 1) for line in run("presets").stdout.splitlines())
    assert list(rows) == list(presets())
    assert rows["openai"].startswith("nothing\t")
    assert rows["together"].startswith("TOGETHER_API_KEY\t")
    assert "a-key-of-this-test" not in str(rows)


@pytest.mark.parametrize("preset", [name for name in presets() if name != "local"])
def test_the_keys_of_a_preset_are_those_that_its_models_name(preset: str) -> None:
    layers, aggregator = Mixture.from_preset(preset, api_key="none").members[:2]
    models = [member.chat_model for layer in layers for member in layer] + [aggregator.chat_model]
    assert keys_of(preset) == sorted({name for model in models if model for name in model.lc_secrets.values()})


@pytest.mark.parametrize(
    ("package", "present", "missing"),
    [
        (True, True, "nothing"),
        (True, False, "langchain-moa models pull smollm2-135m gemma3-270m"),
        (False, True, 'pip install "langchain-moa[local]"'),
        (False, False, 'pip install "langchain-moa[local]" langchain-moa models pull smollm2-135m gemma3-270m'),
    ],
)
def test_the_preset_local_says_what_is_missing(
    package: bool, present: bool, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_moa.local.is_present", lambda _: present)
    monkeypatch.setattr("langchain_moa.cli.commands.presets.find_spec", lambda _: object() if package else None)
    row = next(line for line in run("presets").stdout.splitlines() if line.startswith("local\t"))
    assert row.split("\t")[1] == missing


def test_models_are_lines_with_tabs_for_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.local.is_present", lambda model: model.name == "gemma3-270m")
    listed = run("models", "list").stdout
    assert run("models").stdout == listed
    rows = [line.split("\t") for line in listed.splitlines()]
    assert [row[:2] for row in rows] == [["local:smollm2-135m", "no"], ["local:gemma3-270m", "yes"]]
    assert "Gemma Terms of Use" in rows[1]


def pulling(monkeypatch: pytest.MonkeyPatch, *, present: bool) -> list[str]:
    pulled: list[str] = []

    def pull(name: str, *, progress: Callable[[str], object]) -> Path:
        progress(f"{name}: fetching \x1b[31mit")
        pulled.append(name)
        return Path("cache") / name

    monkeypatch.setattr("langchain_moa.local.is_present", lambda _: present)
    monkeypatch.setattr("langchain_moa.local.pull", pull)
    return pulled


def test_pull_fetches_all_and_prints_their_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = pulling(monkeypatch, present=False)
    done = run("models", "pull")
    assert pulled == ["smollm2-135m", "gemma3-270m"]
    assert done.stdout.splitlines() == [str(Path("cache") / name) for name in pulled]
    smollm, terms, gemma = done.stderr.splitlines()
    assert smollm == "smollm2-135m: fetching [31mit"
    assert terms.startswith("note: Gemma is provided under and subject to the Gemma Terms of Use")
    assert gemma.startswith("gemma3-270m: ")


def test_pull_fetches_what_is_named_and_can_be_quiet_but_for_the_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = pulling(monkeypatch, present=False)
    done = run("models", "pull", "local:gemma3-270m", "-q")
    assert pulled == ["gemma3-270m"]
    assert done.stderr.startswith("note: Gemma")
    assert done.stderr.count("\n") == 1


def test_terms_are_shown_when_a_model_comes_and_not_ever_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pulling(monkeypatch, present=True)
    assert "Gemma" not in run("models", "pull", "gemma3-270m").stderr


def test_pull_refuses_an_unknown_name_before_it_fetches_any(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled = pulling(monkeypatch, present=False)
    done = run("models", "pull", "smollm2-135m", "gpt-7")
    assert (done.exit_code, done.stdout, pulled) == (2, "", [])
    assert "unknown local model 'gpt-7'; choose one of: smollm2-135m" in done.stderr


def test_a_failed_pull_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(name: str, *, progress: object) -> Path:
        msg = "pip cannot download it"
        raise PullError(msg)

    monkeypatch.setattr("langchain_moa.local.pull", pull)
    done = run("models", "pull", "smollm2-135m")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("error: pip cannot download it\n")


def test_the_help_of_serve_names_its_variable_whole() -> None:
    assert "LANGCHAIN_MOA_API_KEY" in run("serve", "--help").stdout


def test_to_draw_a_mixture_no_client_of_a_model_is_made(tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text(
        "proposers:\n  - openai:a\n  - {model: together:org/b, name: sceptic, settings: {temperature: 1}}\n"
        "aggregator: nowhere:c\naggregator_fallbacks: [openai:d]\naggregation: rank\n",
        encoding="utf-8",
    )
    code = (
        "import sys\n"
        "from langchain_moa.cli.app import app\n"
        "app(['draw', '--config', 'moa.yaml'], standalone_mode=False)\n"
        "print([name for name in ('openai', 'langchain_openai', 'langchain_together') if name in sys.modules])\n"
    )
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    drawn, _, clients = done.stdout.strip().rpartition("\n")
    assert clients == "[]"
    assert "<b>sceptic</b><br/>together:org/b" in drawn
    assert "<b>rank 1</b><br/>openai:a" in drawn
    assert "nowhere:c" in drawn


@pytest.mark.parametrize(
    ("wrong", "words"),
    [("layers=1", "unknown field 'layers'"), ("proposers=[{modell: a}]", "proposers: item 1: unknown key 'modell'")],
)
def test_what_is_wrong_with_a_mixture_is_told_when_it_is_drawn(wrong: str, words: str) -> None:
    done = run("draw", "--preset", "openai", "--set", wrong)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_a_page_that_could_not_be_written_is_refused_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.cli.commands.ask.find_spec", lambda _: None)
    done = run("ask", *PAIR, "--report", "run.html", "Why?")
    assert (done.exit_code, done.stdout) == (2, "")
    assert 'pip install "langchain-moa[report]"' in " ".join(done.stderr.split())
