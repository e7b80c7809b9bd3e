"""Functions of a user's own that are named in files and on the command line: `file.py:function`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def load_function(name: str) -> Callable[..., Any]:
    """Run a Python file and return one of its functions.

    Args:
        name: `file.py:function`. What lies beside the file can be imported by it.

    Raises:
        ValueError: There is no such file or function, or the file raises; the text names both.
    """
    path, separator, function = name.rpartition(":")
    if not separator or not path.endswith(".py") or not function:
        msg = f"{name!r}: write the file and its function, as in mine.py:check"
        raise ValueError(msg)
    file = Path(path)
    if not file.is_file():
        msg = f"{name}: there is no file {path}"
        raise ValueError(msg)
    # A name of its own: a file may be called like a module that others import.
    spec = importlib.util.spec_from_file_location(f"functions of {path}", file)
    if spec is None or spec.loader is None:
        msg = f"{name}: {path} is no Python file"
        raise ValueError(msg)
    module = importlib.util.module_from_spec(spec)
    # It can import its neighbours, as in `python mine.py`; behind all others, so that none of them hides a module of ours. A
    # dataclass finds its module.
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        msg = f"{name}: {path} raised {type(error).__name__}: {error}"
        raise ValueError(msg) from error
    found: Any = getattr(module, function, None)
    if not callable(found):
        msg = f"{name}: {path} has no function {function!r}"
        raise ValueError(msg)  # noqa: TRY004  # a wrong name is a wrong value
    return found  # type: ignore[no-any-return]  # whatever can be called
