"""The entry point, before the packages of the command line are imported, and without them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("typer", "rich", "prompt_toolkit", "platformdirs")


def run(folder: Path, *args: str, close: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line with the modules of a folder first in the path."""
    path = os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "langchain_moa", *args]
    shell = ["sh", "-c", f'exec "$@" {close}', "sh", *command]
    return subprocess.run(  # noqa: S603  # our own program
        shell, env={**os.environ, "PYTHONPATH": path}, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_without_the_extra_it_says_so_in_one_line(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from langchain_moa.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "presets"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'error: the command line needs more packages: pip install "langchain-moa[cli]"\n'


def test_the_packages_of_the_extra_are_not_imported_with_the_entry_point() -> None:
    code = f"import sys, langchain_moa.cli; print([name for name in {PACKAGES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # our own program
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("module", ["typer", "langchain_core", "yaml"])
def test_ctrl_c_during_the_imports_ends_it_without_a_traceback(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    done = run(tmp_path, "show", "-p", "openai:a", "-a", "openai:b", "--set", "min_references=1")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_nothing_is_asked_where_no_answer_could_be_written(tmp_path: Path) -> None:
    done = run(tmp_path, "ask", "-p", "openai:a", "-a", "openai:b", "Why?", close=">&-")
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output is closed; redirect it to a file")
    assert done.stderr.count("\n") == 1


def test_errors_do_not_go_to_standard_output_where_standard_error_is_closed(tmp_path: Path) -> None:
    done = run(tmp_path, "show", "--preset", "absent", close="2>&-")
    assert (done.returncode, done.stdout) == (2, "")
