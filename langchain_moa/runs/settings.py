"""The settings that make a run again: the mixture as a configuration file has it, and the versions of what it ran on."""

from __future__ import annotations

import platform
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable

from langchain_moa.data.redaction import is_secret_name
from langchain_moa.limits.retry import Retry
from langchain_moa.members.proposer import Proposer

if TYPE_CHECKING:
    from pydantic import JsonValue

    from langchain_moa.mixture.mixture import Mixture
    from langchain_moa.runs.plain import Plain

_PACKAGES = ("langchain-moa", "langchain-core", "langchain", "langgraph", "langchain-openai", "langchain-together")

# The packages that have strategies under names of their own.
_NAMED = ("langchain_moa.aggregation.", "langchain_moa.filters.", "langchain_moa.stopping.")


class _NoConfigError(Exception):
    """The mixture is made of something that no file can hold."""


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def config_of(mixture: Mixture, plain: Plain) -> dict[str, JsonValue] | None:
    """Return a mixture as a configuration file would have it; `None` where it is made of objects.

    Args:
        mixture: The mixture.
        plain: Makes plain data, without secrets.
    """
    from langchain_moa.mixture.mixture import Mixture

    kinds = Mixture.model_fields
    names = [name for name in kinds if name not in {"api_key", "proposers", "num_layers"}]
    nested = isinstance(next(iter(mixture.proposers)), tuple)
    try:
        config = {"proposers": _written(list(mixture.proposers))}
        if not nested:
            config["num_layers"] = mixture.num_layers
        for name in names:
            value = getattr(mixture, name)
            if value is not None and value != kinds[name].get_default(call_default_factory=True):
                config[name] = _written(value)
    except _NoConfigError:
        return None
    return plain.mapping(config)


def _written(value: Any) -> Any:
    written: Any
    match value:
        case None | str() | int() | float():
            written = value
        case Proposer():
            written = _member(value)
        case Retry():
            written = asdict(value)
        case list() | tuple():
            written = [_written(item) for item in value]
        case dict():
            written = {str(key): _written(item) for key, item in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, (type, Runnable)):
            written = _strategy(value)
        case _:
            written = _function(value)
    return written


def _function(value: Any) -> str:
    module, name = str(getattr(value, "__module__", "")), str(getattr(value, "__name__", ""))
    # One that is found by its name is called like its module.
    if not module.startswith(_NAMED) or module.rpartition(".")[2] != name:
        raise _NoConfigError
    return name


def _member(proposer: Proposer) -> Any:
    # A key of its own, which no file may hold, is as good as an object.
    if not isinstance(proposer.model, str) or any(is_secret_name(str(name)) for name in proposer.settings):
        raise _NoConfigError
    given = {each.name: getattr(proposer, each.name) for each in fields(proposer)}
    said = {name: _written(value) for name, value in given.items() if value not in (None, {})}
    return proposer.model if len(said) == 1 else said


def _strategy(value: Any) -> Any:
    module = type(value).__module__
    if not module.startswith(_NAMED):
        raise _NoConfigError
    arguments = {}
    for each in fields(value):
        given = getattr(value, each.name)
        if each.init and given != each.default:
            arguments[each.name] = _written(given)
    name = module.rpartition(".")[2]
    return {name: arguments} if arguments else name
