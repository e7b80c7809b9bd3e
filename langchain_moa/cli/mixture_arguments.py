"""The options that describe a mixture, and how a mixture is created from them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_moa.cli.arguments import (  # noqa: TC001  # `with_arguments` reads the annotations
    Aggregator,
    Config,
    Layers,
    Preset,
    Proposers,
    Settings,
)
from langchain_moa.cli.console import console_on, is_terminal, note, one_line
from langchain_moa.cli.exit_codes import UsageError, explain
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_moa.chat_model.chat_model import ChatMoA
    from langchain_moa.mixture.mixture import Mixture

T = TypeVar("T")

DEFAULT_CONFIG = Path("moa.yaml")
DEFAULT_PRESET = "local"

# A placeholder that clients accept as a key, for commands that call no model.
_NO_KEY = "none"

_ADDRESS_KEYS = ("url", "base", "host", "endpoint", "proxy")


@dataclass(frozen=True, kw_only=True)
class MixtureArguments:
    """The options that describe a mixture.

    A YAML file or a preset describes the mixture, and the other options override its fields. Without both, proposers and an
    aggregator are enough; otherwise `./moa.yaml` is used if it exists, or else the preset `local`.

    Attributes:
        config: The YAML file.
        preset: The preset.
        proposers: The models of the proposers.
        aggregator: The model of the aggregator.
        layers: The number of layers.
        settings: Other fields, each as `field=value` with the value in YAML.
    """

    config: Config = None
    preset: Preset = None
    proposers: Proposers = None
    aggregator: Aggregator = None
    layers: Layers = None
    settings: Settings = None

    @property
    def is_default(self) -> bool:
        """Whether no option and no `./moa.yaml` describes a mixture, so that the default preset is used."""
        return not (self.config or self.preset or self.proposers or self.aggregator or DEFAULT_CONFIG.is_file())

    @property
    def uses_found_file(self) -> bool:
        """Whether `./moa.yaml` is used without being named in an option."""
        named = self.config or self.preset or (self.proposers and self.aggregator)
        return not named and DEFAULT_CONFIG.is_file()

    @property
    def source(self) -> str:
        """A short description of the source of the mixture; empty if only single options describe it."""
        if self.config or self.preset:
            return f"preset {self.preset}" if self.preset else str(self.config)
        if self.proposers and self.aggregator:
            return ""
        return str(DEFAULT_CONFIG) if DEFAULT_CONFIG.is_file() else "" if self.proposers else f"preset {DEFAULT_PRESET}"

    def mixture(self, *, asked: bool = True, quiet: bool = False, overrides: Mapping[str, Any] | None = None) -> Mixture:
        """Create the mixture.

        Args:
            asked: Whether models will be called; otherwise no key is needed.
            quiet: Whether to leave out the note about the source of the mixture.
            overrides: Further fields of the mixture; `None` values are ignored.

        Raises:
            UsageError: The options contradict each other or describe no valid mixture, or local models are missing.
        """
        from langchain_moa.mixture.mixture import Mixture

        if asked:
            if not quiet:
                self._announce()
            _require_local_models(self.written())
        return self.build(Mixture, {**(overrides or {}), **({} if asked else {"api_key": _NO_KEY})})

    def load(self, *, quiet: bool = False, overrides: Mapping[str, Any] | None = None) -> Mixture:
        """Create a mixture whose models will be called, and show a spinner on standard error meanwhile.

        Args:
            quiet: Whether to print nothing.
            overrides: Further fields of the mixture; `None` values are ignored.

        Raises:
            UsageError: The options contradict each other or describe no valid mixture, or local models are missing.
        """
        if not quiet:
            self._announce()
        if quiet or not is_terminal(sys.stderr):
            return self.mixture(quiet=True, overrides=overrides)
        # The first import of a provider's client takes one or two seconds.
        with console_on(sys.stderr).status("loading"):
            return self.mixture(quiet=True, overrides=overrides)

    def served(self, *, quiet: bool = False) -> dict[str, ChatMoA]:
        """Create the chat models that the options describe, by name: one, or all mixtures of a file.

        Args:
            quiet: Whether to leave out the note about the source of the mixture.

        Raises:
            UsageError: The options contradict each other or describe no valid mixture.
        """
        from langchain_moa.chat_model.chat_model import ChatMoA
        from langchain_moa.mixture.config import read_mixtures

        self._refuse_two()
        named = self.preset or self.proposers or self.aggregator
        file = self.config or (None if named or not DEFAULT_CONFIG.is_file() else DEFAULT_CONFIG)
        if not quiet:
            self._announce()
        if file is None:
            name = self.preset or ("moa" if named else DEFAULT_PRESET)
            _require_local_models(self.written())
            return {name: self.build(ChatMoA, {})}
        try:
            return read_mixtures(ChatMoA, file, self._overrides())
        except (ValueError, ImportError) as error:
            raise UsageError(explain(error)) from error

    def written(self) -> dict[str, Any]:
        """Return the mixture's fields as written, in the order of the file, without validation.

        Raises:
            UsageError: The options contradict each other, or the file or preset cannot be read.
        """
        return self.build(dict, {})

    def build(self, make: Callable[..., T], more: Mapping[str, Any]) -> T:
        """Call a function with the mixture's fields as keyword arguments.

        Args:
            make: The function or class, for example `Mixture`.
            more: Further fields; `None` values are ignored.

        Raises:
            UsageError: The options contradict each other or describe no valid mixture.
        """
        self._refuse_two()
        overrides = self._overrides() | {name: value for name, value in more.items() if value is not None}
        try:
            made: T = self._make(make, overrides)
        except (ValueError, ImportError) as error:
            raise UsageError(explain(error)) from error
        return made

    def _announce(self) -> None:
        """Print which mixture is used if no option named one, and which servers a `./moa.yaml` calls."""
        if self.is_default:
            note("no --config, no --preset and no ./moa.yaml: using the preset local, small models on this machine")
        elif self.uses_found_file:
            from langchain_moa.members.keys import variables_named

            found = self._found()
            addresses = ", ".join(dict.fromkeys(_addresses(found)))
            keys = ", ".join(dict.fromkeys(variables_named(found)))
            said = [f" which calls {addresses}" if addresses else "", f" with the keys in {keys}" if keys else ""]
            note(f"using ./{DEFAULT_CONFIG}{',' if any(said) else ''}{''.join(said)}")

    def _found(self) -> list[Any]:
        """Return the mixtures of `./moa.yaml` as written, including nested ones."""
        from langchain_moa.mixture.config import inner_mixtures, read_mixtures

        make: Any = dict
        try:
            found: dict[str, Any] = read_mixtures(make, DEFAULT_CONFIG, {})
            return [*found.values(), *inner_mixtures(list(found.values()))]
        except ValueError as error:
            raise UsageError(explain(error)) from error

    def _refuse_two(self) -> None:
        if self.config and self.preset:
            msg = "give either --config or --preset, not both"
            raise UsageError(msg)

    def _make(self, make: Any, overrides: Mapping[str, Any]) -> Any:
        from langchain_moa.mixture.config import read_config, read_preset

        if self.preset:
            return read_preset(make, self.preset, overrides)
        if self.config:
            return read_config(make, self.config, overrides)
        if self.proposers and self.aggregator:
            return make(**overrides)
        if DEFAULT_CONFIG.is_file():
            return read_config(make, DEFAULT_CONFIG, overrides)
        if self.proposers:
            # Some aggregations need no aggregator; the others raise an error.
            return make(**overrides)
        if self.aggregator:
            msg = "--aggregator needs --proposer, --preset or --config"
            raise UsageError(msg)
        return read_preset(make, DEFAULT_PRESET, overrides)

    def _overrides(self) -> dict[str, Any]:
        given = {
            "proposers": list(self.proposers) if self.proposers else None,
            "aggregator": self.aggregator,
            "num_layers": self.layers,
        }
        settings = dict(_setting(text) for text in self.settings or ())
        return settings | {name: value for name, value in given.items() if value is not None}


def _setting(text: str) -> tuple[str, Any]:
    """Parse `field=value`."""
    from langchain_moa.data.documents import read_yaml
    from langchain_moa.data.redaction import names_secret
    from langchain_moa.members.keys import is_open

    name, separator, written = (part.strip() for part in text.partition("="))
    if not separator or not name:
        msg = "--set takes FIELD=VALUE: --set min_references=2, for example"
        raise UsageError(msg)
    try:
        value = read_yaml(written)
    except ValueError as error:
        # The text of the YAML error would quote the value, which may be a key.
        msg = f"--set {name}: the value is not valid YAML; put it in quotes if it contains characters like : [ {{"
        raise UsageError(msg) from error
    if (secret := names_secret({name: value}, allows=is_open)) is not None:
        msg = (
            f"--set {secret}: keys do not belong on the command line; set the provider's environment variable, or name a "
            f"variable of your own: --set '{secret}=${{NAME}}'"
        )
        raise UsageError(msg)
    return name, value


def _addresses(value: Any, key: str = "") -> Iterator[str]:
    """Yield the server addresses in the fields of a mixture, at any depth."""
    from langchain_moa.data.redaction import redact

    if isinstance(value, dict):
        for name, item in value.items():
            yield from _addresses(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _addresses(item, key)
    elif isinstance(value, str) and len(value.split()) == 1 and ("://" in value or key.lower().endswith(_ADDRESS_KEYS)):
        yield one_line(redact(value))


def _require_local_models(fields: Any) -> None:
    """Check that the local models of a mixture are downloaded. The error has the command that downloads all missing ones."""
    from langchain_moa.mixture.config import inner_mixtures

    try:
        fields = [fields, *inner_mixtures(fields)]
    except ValueError as error:
        raise UsageError(explain(error)) from error
    from langchain_moa.local import CATALOG, is_present

    if find_spec("xllamacpp") is None:
        return  # creating the mixture raises an error with the pip command
    names = dict.fromkeys(text.removeprefix("local:") for text in _texts(fields) if text.startswith("local:"))
    missing = [name for name in names if name in CATALOG and not is_present(CATALOG[name])]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        number = counted(len(missing), "local model")
        msg = f"{number} must be downloaded first; download {them} with: langchain-moa models pull {' '.join(missing)}"
        raise UsageError(msg)


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in the fields of a mixture, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
