"""Serialization of runs: plain data without secrets, the mixture as a configuration file, and package versions."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable
from pydantic import BaseModel

from langchain_moa.data.credentials import is_secret_name
from langchain_moa.data.redaction import conceal, known_secrets, masked
from langchain_moa.limits.retry import Retry
from langchain_moa.members.proposer import Proposer
from langchain_moa.runs.outline import Outline, OutlinedEdge, OutlinedNode
from langchain_moa.runs.run import MessageRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import JsonValue

    from langchain_moa.data.reference import Failure
    from langchain_moa.mixture.mixture import Mixture

# Deeper than any realistic settings, and below Python's recursion limit.
_DEEPEST = 50

# Longer values, such as the data of an image, are replaced by a note.
_LONGEST_VALUE = 2_000

_PACKAGES = ("langchain-moa", "langchain-core", "langchain", "langgraph", "langchain-openai", "langchain-together")

# The packages whose strategies a configuration file can name.
_NAMED = ("langchain_moa.aggregation.", "langchain_moa.filters.", "langchain_moa.stopping.")


class Serializer:
    """Converts the objects of a run to plain data, and redacts known secrets and text that looks like a key."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Create it for one run. The secrets of the environment are read once.

        Args:
            secrets: Known secrets in addition to those of the environment.
        """
        self._secrets = known_secrets(secrets)

    def text(self, value: Any) -> str:
        """Return a value as a valid Unicode string, redacted."""
        text = value if isinstance(value, str) else "" if value is None else str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            # A lone surrogate, from an answer that a server cut.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return conceal(text, self._secrets)

    def optional_text(self, value: Any) -> str | None:
        """Return a value as a valid Unicode string, redacted, or `None` for `None`."""
        return None if value is None else self.text(value)

    def failure(self, failure: Failure) -> Failure:
        """Return a failure with its message redacted."""
        return {**failure, "message": self.text(failure["message"])}

    def data(self, value: Any) -> Any:
        """Return JSON-compatible data, redacted. Other objects become the name of their type."""
        return self._plain(masked(value), 0)

    def mapping(self, value: Mapping[str, Any] | None) -> dict[str, JsonValue]:
        """Return a JSON-compatible mapping, redacted; an empty one for `None`."""
        return {} if value is None else self.data(dict(value))

    def message(self, message: Any) -> MessageRecord:
        """Return a LangChain message or a string as plain data."""
        content = getattr(message, "content", message)
        blocks = content if isinstance(content, list) else None
        return MessageRecord(
            type=str(getattr(message, "type", "human")),
            content=self.text(content) if blocks is None else [_short(self.data(block)) for block in blocks],
            name=self.optional_text(getattr(message, "name", None)),
            tool_calls=[self.data(call) for call in getattr(message, "tool_calls", None) or ()],
            tool_call_id=self.optional_text(getattr(message, "tool_call_id", None)),
        )

    def messages(self, messages: Sequence[Any]) -> list[MessageRecord]:
        """Return LangChain messages or strings as plain data."""
        return [self.message(message) for message in messages]

    def outline(self, mixture: Mixture) -> Outline:
        """Return the nodes and edges of a mixture's graph."""
        from langchain_moa.engine.graph import build_graph

        graph = build_graph(mixture).compile().get_graph()
        return Outline(
            nodes=[
                OutlinedNode(id=node.id, name=self.text(node.name), metadata=self.mapping(node.metadata))
                for node in graph.nodes.values()
            ],
            edges=[
                OutlinedEdge(
                    source=edge.source,
                    target=edge.target,
                    label=self.optional_text(edge.data),
                    conditional=edge.conditional,
                )
                for edge in graph.edges
            ],
        )

    def config(self, mixture: Mixture) -> dict[str, JsonValue] | None:
        """Return a mixture as the data of a configuration file, or `None` if it has objects that a file cannot express."""
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
        return self.mapping(config)

    def _plain(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, (str, float)):
            return value if isinstance(value, float) and math.isfinite(value) else self.text(value)
        # Show pydantic models only by name, like functions and classes, because fields of clients may have any content.
        if depth < _DEEPEST and not isinstance(value, (BaseModel, bytes, bytearray)):
            if isinstance(value, Mapping):
                return {self.text(key): self._plain(item, depth + 1) for key, item in masked(value).items()}
            if isinstance(value, (Sequence, AbstractSet)):
                return [self._plain(item, depth + 1) for item in value]
        return f"<{getattr(value, '__name__', type(value).__name__)}>"


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed main packages."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class _NoConfigError(Exception):
    """The mixture has a part that a configuration file cannot express."""


def _short(value: JsonValue, key: str = "") -> JsonValue:
    if isinstance(value, dict):
        return {name: _short(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    if isinstance(value, str) and key != "text" and len(value) > _LONGEST_VALUE:
        return f"[{len(value):,} characters left out]"
    return value


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
    # A file can name only functions that have the name of their module.
    if not module.startswith(_NAMED) or module.rpartition(".")[2] != name:
        raise _NoConfigError
    return name


def _member(proposer: Proposer) -> Any:
    # A file cannot have keys.
    if not isinstance(proposer.model, str) or any(is_secret_name(str(name)) for name in proposer.settings):
        raise _NoConfigError
    given = {each.name: getattr(proposer, each.name) for each in fields(proposer)}
    if proposer.base_url is not None:
        given["settings"] = {name: value for name, value in proposer.settings.items() if name != "base_url"}
    said = {name: _written(value) for name, value in given.items() if value not in (None, {}, ())}
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
