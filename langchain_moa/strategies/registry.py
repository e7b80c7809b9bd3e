"""Registry: strategies are found by their modules' names, so that adding one is adding a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from pydantic import ValidationError

from langchain_moa.validation import explain


def names(package: str) -> tuple[str, ...]:
    """Return the names of the strategies in a package: its modules that are not private."""
    path = import_module(package).__path__
    return tuple(sorted(module.name for module in iter_modules(path) if not module.name.startswith("_")))


def strategy_class(package: str, name: str) -> type:
    """Return the class of a strategy: the module `best_of` holds the class `BestOf`.

    Args:
        package: Where it is.
        name: The module's name, in any case, with hyphens or underscores.

    Raises:
        ValueError: There is no such module.
    """
    module = name.lower().replace("-", "_")
    if module not in names(package):
        msg = f"unknown name {name!r}; known are {', '.join(names(package))}"
        raise ValueError(msg)
    expected = module.title().replace("_", "")
    found = getattr(import_module(f"{package}.{module}"), expected, None)
    if not isinstance(found, type):
        msg = f"{package}.{module} holds no class {expected}; a strategy's class has its module's name"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
    return found


def resolve(package: str, value: Any) -> Any:
    """Make the strategy that a user's value stands for.

    Args:
        package: Where names are looked up.
        value: A name; a mapping of one name to its arguments; a strategy's class; or anything else, which stands for itself.

    Raises:
        ValueError: There is no such name, or an argument is unknown or wrong.
    """
    if isinstance(value, str):
        return _make(package, value, {})
    if isinstance(value, Mapping):
        if len(value) != 1:
            msg = f"a mapping has one key, the strategy's name, and its arguments below; this one has {len(value)}"
            raise ValueError(msg)
        [(name, arguments)] = value.items()
        if not isinstance(arguments, Mapping | None):
            msg = f"{name}: its arguments are a mapping, as in {{{name}: {{argument: value}}}}, not {arguments!r}"
            raise ValueError(msg)  # noqa: TRY004  # as above
        return _make(package, str(name), arguments or {})
    return value() if isinstance(value, type) else value


def name_of(value: Any) -> str:
    """Return what a strategy is called: the name it is found by, or that of the user's function, class or Runnable."""
    module, _, name = type(value).__module__.rpartition(".")
    if module.startswith("langchain_moa."):
        return name
    get_name: Callable[[], str] | None = getattr(value, "get_name", None)
    called = get_name() if get_name is not None else getattr(value, "__name__", type(value).__name__)
    return str(called)


def _make(package: str, name: str, arguments: Mapping[str, Any]) -> Any:
    cls = strategy_class(package, name)
    known = [each.name for each in fields(cls)] if is_dataclass(cls) else []
    if unknown := [str(argument) for argument in arguments if argument not in known]:
        remedy = f"known are {', '.join(known)}" if known else "it has none"
        msg = f"{name}: unknown argument {unknown[0]!r}; {remedy}"
        raise ValueError(msg)
    try:
        return cls(**arguments)
    except ValidationError as error:
        msg = f"{name}: {explain(error)}"
        raise ValueError(msg) from error
