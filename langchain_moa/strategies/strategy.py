"""Strategies: small parts that a user names, configures, or writes; found by name, so that adding one is adding a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, TypeAlias, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, PlainValidator, ValidationError
from pydantic.dataclasses import dataclass

from langchain_moa.members.proposer import Proposer
from langchain_moa.validation import explain

C = TypeVar("C", bound=type)


def _coerce_model(value: Any) -> Proposer | None:
    return None if value is None else Proposer.coerce(value)


Model: TypeAlias = Annotated[Any, PlainValidator(_coerce_model)]
"""A model that a strategy calls: whatever may stand for a proposer, kept as a `Proposer`; `None` for the aggregator."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def strategy(cls: C) -> C:
    """Make a class of fields: keyword-only, checked, frozen; plain data that can be named in YAML, compared and pickled."""
    config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=(), extra="forbid")
    made: Any = dataclass(kw_only=True, frozen=True, config=config)(cls)
    return made  # type: ignore[no-any-return]  # pydantic returns the class, typed as one of its own


def names(package: str) -> tuple[str, ...]:
    """Return the names of the strategies in a package: its modules that are not private."""
    path = import_module(package).__path__
    return tuple(sorted(module.name for module in iter_modules(path) if not module.name.startswith("_")))


def resolve(package: str, value: Any) -> Any:
    """Make the strategy that a user's value stands for.

    Args:
        package: Where names are looked up: the module `best_of` holds the class `BestOf`.
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
            raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's place
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
    module = name.lower().replace("-", "_")
    if module not in names(package):
        msg = f"unknown name {name!r}; known are {', '.join(names(package))}"
        raise ValueError(msg)
    cls = getattr(import_module(f"{package}.{module}"), module.title().replace("_", ""))
    try:
        return cls(**arguments)
    except ValidationError as error:
        msg = f"{name}: {explain(error)}"
        raise ValueError(msg) from error
