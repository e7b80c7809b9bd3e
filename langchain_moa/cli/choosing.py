"""The mixture that a command works on, chosen by its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_moa.cli.failing import UsageError, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_moa.chat_model.chat_model import ChatMoA
    from langchain_moa.mixture.mixture import Mixture

T = TypeVar("T")

DEFAULT_CONFIG = Path("moa.yaml")
DEFAULT_PRESET = "local"

# To look at a mixture no key is needed; its clients want some text for one all the same.
_NO_KEY = "none"


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """What the options say about the mixture.

    A file or a preset describes it, and single options go before what these say. Where neither is named, proposers and
    aggregator describe it alone; else `./moa.yaml` does if it is there, and the preset `local` if it is not.

    Attributes:
        config: The YAML file.
        preset: The preset.
        proposers: Models that replace the proposers.
        aggregator: The model that replaces the aggregator.
        layers: How many layers of proposers.
        settings: Other fields, each as `field=value` with the value in YAML.
        fields: Other fields by name; `None` is what was not said.
    """

    config: Path | None = None
    preset: str | None = None
    proposers: Sequence[str] | None = None
    aggregator: str | None = None
    layers: int | None = None
    settings: Sequence[str] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether nothing was said about whom to ask and nothing is there, so that the default preset is taken."""
        named = self.config or self.preset or self.proposers or self.aggregator
        return not named and not DEFAULT_CONFIG.is_file()

    @property
    def source(self) -> str:
        """Where the mixture comes from, in a word or two; empty where single options describe it alone."""
        if self.config or self.preset:
            return f"preset {self.preset}" if self.preset else str(self.config)
        if self.proposers and self.aggregator:
            return ""
        return str(DEFAULT_CONFIG) if DEFAULT_CONFIG.is_file() else "" if self.proposers else f"preset {DEFAULT_PRESET}"

    def mixture(self, *, asked: bool = True) -> Mixture:
        """Make the mixture.

        Args:
            asked: Whether it will be asked anything; to look at it, no key is needed.

        Raises:
            UsageError: The options contradict each other, or describe no mixture.
        """
        from langchain_moa.mixture.mixture import Mixture

        return self._read(Mixture, {} if asked else {"api_key": _NO_KEY})

    def sketch(self) -> Mixture:
        """Make the mixture as it is drawn, without the clients of its models; no key is needed.

        Raises:
            UsageError: The options contradict each other, or describe no mixture.
        """
        from langchain_moa.cli.sketch import sketched

        # A strategy may bring a model of its own, whose client is made.
        return self._read(sketched, {"api_key": _NO_KEY})

    def served(self) -> dict[str, ChatMoA]:
        """Make the chat models that the options name: one, or those of a file that has several, by name.

        Raises:
            UsageError: The options contradict each other, or describe no mixture.
        """
        from langchain_moa.chat_model.chat_model import ChatMoA
        from langchain_moa.mixture.config import read_mixtures

        self._refuse_two()
        named = self.preset or self.proposers or self.aggregator
        file = self.config or (None if named or not DEFAULT_CONFIG.is_file() else DEFAULT_CONFIG)
        if file is None:
            name = self.preset or ("moa" if named else DEFAULT_PRESET)
            return {name: self._read(ChatMoA, {})}
        try:
            return read_mixtures(ChatMoA, file, self._overrides())
        except (ValueError, ImportError) as error:
            raise UsageError(explain(error)) from error

    def written(self) -> dict[str, Any]:
        """Return the mixture's fields as they are written, in the order of the file, unchecked.

        Raises:
            UsageError: The options contradict each other, or name no file or preset that can be read.
        """
        return self._read(dict, {})

    def _read(self, make: Callable[..., T], more: Mapping[str, Any]) -> T:
        self._refuse_two()
        overrides = {**self._overrides(), **more}
        try:
            made: T = self._make(make, overrides)
        except (ValueError, ImportError) as error:
            raise UsageError(explain(error)) from error
        return made

    def _refuse_two(self) -> None:
        if self.config and self.preset:
            msg = "--config and --preset name two mixtures; give one of them"
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
            # Some ways to aggregate ask no model; where this one does, the error says so.
            return make(**overrides)
        if self.aggregator:
            msg = "--aggregator alone makes no mixture; give --proposer too, or a --preset or --config that it changes"
            raise UsageError(msg)
        return read_preset(make, DEFAULT_PRESET, overrides)

    def _overrides(self) -> dict[str, Any]:
        said = {
            "proposers": list(self.proposers) if self.proposers else None,
            "aggregator": self.aggregator,
            "num_layers": self.layers,
            **self.fields,
        }
        settings = dict(_setting(text) for text in self.settings or ())
        return settings | {name: value for name, value in said.items() if value is not None}


def _setting(text: str) -> tuple[str, Any]:
    """Read `field=value`."""
    import yaml

    from langchain_moa.data.redaction import names_secret

    name, separator, written = (part.strip() for part in text.partition("="))
    if not separator or not name:
        msg = "--set takes FIELD=VALUE: --set min_references=2, for example"
        raise UsageError(msg)
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError as error:
        # Its text would quote the value, which may be a key at the wrong place.
        msg = f"--set {name}: the value is no YAML; put it into quotes where it has signs like : [ {{"
        raise UsageError(msg) from error
    if (secret := names_secret({name: value})) is not None:
        msg = f"--set {secret}: keys do not belong on the command line; set the provider's environment variable"
        raise UsageError(msg)
    return name, value
