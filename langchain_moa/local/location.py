"""Where a model's file lies."""

from __future__ import annotations

from pathlib import Path

from langchain_moa.local.catalog import CATALOG, find
from langchain_moa.local.errors import ModelMissingError
from langchain_moa.local.pull import cache_dir, is_present

_MAGIC = b"GGUF"


def path_of(name: object) -> Path:
    """Return a model's file.

    Args:
        name: The name of a model of the catalog, or the path of a `.gguf` file.

    Raises:
        UnknownModelError: There is no such model.
        ModelMissingError: There is no such file, or it is not a GGUF file.
    """
    if not (isinstance(name, str) and name not in CATALOG and name.lower().endswith(".gguf")):
        model = find(name)
        if not is_present(model):
            msg = f"the local model {model.name!r} is not here yet; fetch it with: langchain-moa models pull {model.name}"
            raise ModelMissingError(msg)
        return cache_dir() / model.file
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        msg = f"there is no file {str(path)!r}; `model` is the path of a .gguf file, or one of {', '.join(CATALOG)}"
        raise ModelMissingError(msg)
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            msg = f"{str(path)!r} is not a GGUF file; models of other formats have to be converted for llama.cpp"
            raise ModelMissingError(msg)
    return path
