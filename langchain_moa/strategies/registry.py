"""Strategies by name: how a class becomes one, and how it is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
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
"""A model that a strategy calls: whatever may stand for a proposer, kept as a `Proposer`; `None` for the aggregator."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def strategy(cls: C) -> C:
    """Make a strategy's class one of settings: keyword-only, checked as they are given, frozen.

    Objects of such a class are plain data: they are equal if their settings are, can be pickled, and say in a mixture's
    description, and in the key of LangChain's cache, how they are set. The types of the settings are pydantic's, and `Model`,
    `Similarity` and `Extract`. Models among the settings are made and checked together with the mixture; which they are is
    said in `models`, unless the class says so itself.

    Args:
        cls: The class; its annotated attributes are the settings.

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
