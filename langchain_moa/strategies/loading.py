"""Loading users' functions that are named in files and on the command line as `file.py:function`."""

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
        name: The function as `file.py:function`. The file can import modules in its own folder.

    Returns:
        The function.

    Raises:
        ValueError: The file or the function does not exist, or the file raises an error; the message names both.
    """
    path, separator, function = name.rpartition(":")
    if not separator or not path.endswith(".py") or not function:
        msg = f"{name!r}: give the file and its function, as in mine.py:check"
        raise ValueError(msg)
    file = Path(path)
    if not file.is_file():
        msg = f"{name}: there is no file {path}"
        raise ValueError(msg)
    # A unique module name: the file may have the same name as another module.
    spec = importlib.util.spec_from_file_location(f"functions of {path}", file)
    if spec is None or spec.loader is None:
        msg = f"{name}: {path} is not a Python file"
        raise ValueError(msg)
    module = importlib.util.module_from_spec(spec)
    # The file can import modules in its folder, as with `python mine.py`. The folder comes last in `sys.path`, so that none of
    # these modules hides an installed one. The entry in `sys.modules` is needed by dataclasses.
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
        raise ValueError(msg)  # noqa: TRY004  # the name is the invalid value
    return found  # type: ignore[no-any-return]  # any callable
