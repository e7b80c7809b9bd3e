"""Strategies by name: the decorator for their classes, and the lookup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from sys import modules
from typing import Annotated, Any, TypeAlias, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, PlainValidator, ValidationError
from pydantic.dataclasses import dataclass

from langchain_moa.data.validation import explain
from langchain_moa.members.proposer import Proposer

C = TypeVar("C", bound=type)


def _coerce_model(value: Any) -> Proposer | None:
    return None if value is None else Proposer.coerce(value)


_MADE_BY = PlainValidator(_coerce_model)

Model: TypeAlias = Annotated[Any, _MADE_BY]
"""A model that a strategy calls, in any form that `proposers` accepts; stored as a `Proposer`. `None` is the aggregator."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def strategy(cls: C) -> C:
    """Turn a strategy's class into a frozen pydantic dataclass whose settings are keyword-only and validated.

    Instances are plain data: they are equal if their settings are equal, can be pickled, and appear with their settings in a
    mixture's description and in the key of LangChain's cache. For the types of settings, use what pydantic supports, and
    `Model`, `Similarity` and `Extract`. Settings of the type `Model` are resolved and checked together with the mixture; the
    property `models` lists them, unless the class defines `models` itself.

    Args:
        cls: The class. Its annotated attributes are the settings.

    Returns:
        The class as a dataclass.

    Example:
        ```python
        from pydantic import Field

        from langchain_moa import ChatMoA, ClosedLayer
        from langchain_moa.strategies import strategy


        @strategy
        class Shortest:
            \"\"\"Keep the shortest references.\"\"\"

            keep: int = Field(default=2, ge=1)

            def __call__(self, layer: ClosedLayer):
                return sorted(layer.references, key=lambda each: len(each["text"]))[: self.keep]


        moa = ChatMoA.from_preset("local", reference_filters=[Shortest(keep=1)])
        ```
    """
    config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True, protected_namespaces=(), extra="forbid")
    made: Any = dataclass(kw_only=True, frozen=True, config=config)(cls)
    own = [name for name, field in made.__pydantic_fields__.items() if _MADE_BY in field.metadata]
    if own and not hasattr(made, "models"):
        made.models = property(lambda self: tuple(getattr(self, name) for name in own))
    return made  # type: ignore[no-any-return]  # pydantic returns the class, typed as one of its own


def names(package: str) -> tuple[str, ...]:
    """Return the names of the strategies in a package, which are its public modules."""
    path = import_module(package).__path__
    found = [module.name for module in iter_modules(path) if not module.name.startswith("_")]
    if not found:
        # `iter_modules` ignores errors, such as too many open files; this raises them.
        for folder in path:
            list(Path(folder).iterdir())
    return tuple(sorted(found))


def strategy_class(package: str, name: str) -> type:
    """Return the class of a strategy. For example, the module `best_of` defines the class `BestOf`.

    Args:
        package: The package of the strategy.
        name: The module's name, in any case, with hyphens or underscores.

    Raises:
        ValueError: There is no such module, or it does not define the class.
    """
    module = name.lower().replace("-", "_")
    is_imported = module.isidentifier() and not module.startswith("_") and f"{package}.{module}" in modules
    if not is_imported and module not in names(package):
        msg = f"unknown name {name!r}; choose one of: {', '.join(names(package))}"
        raise ValueError(msg)
    expected = module.title().replace("_", "")
    found = getattr(import_module(f"{package}.{module}"), expected, None)
    if not isinstance(found, type):
        msg = f"{package}.{module} has no class {expected}; name a strategy's class after its module"
        raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's name
    return found


def resolve(package: str, value: Any) -> Any:
    """Make the strategy that a user's value describes.

    Args:
        package: The package in which names are looked up.
        value: A name, a mapping from one name to its arguments, or a strategy's class. Any other value is returned as it is.

    Raises:
        ValueError: The name is unknown, or an argument is unknown or invalid.
    """
    if isinstance(value, str):
        return _make(package, value, {})
    if isinstance(value, Mapping):
        if len(value) != 1:
            msg = f"give a mapping with one key, the strategy's name, and its arguments as the value; this one has {len(value)}"
            raise ValueError(msg)
        [(name, arguments)] = value.items()
        if not isinstance(arguments, Mapping | None):
            msg = f"{name}: give its arguments as a mapping, as in {{{name}: {{argument: value}}}}, not {arguments!r}"
            raise ValueError(msg)  # noqa: TRY004  # pydantic reports ValueErrors with the field's name
        return _make(package, str(name), arguments or {})
    return value() if isinstance(value, type) else value


def name_of(value: Any) -> str:
    """Return the name of a strategy: its module's name, or the name of the user's function, class or Runnable."""
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
        remedy = f"choose one of: {', '.join(known)}" if known else "it has none"
        msg = f"{name}: unknown argument {unknown[0]!r}; {remedy}"
        raise ValueError(msg)
    try:
        return cls(**arguments)
    except ValidationError as error:
        msg = f"{name}: {explain(error)}"
        raise ValueError(msg) from error
