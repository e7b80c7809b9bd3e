"""Reading mixtures from YAML files and presets, and writing them so that reading returns the same fields."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from langchain_moa.data.redaction import names_secret, redact
from langchain_moa.data.validation import explain
from langchain_moa.members.keys import is_open
from langchain_moa.members.models import names_mixture

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from langchain_moa.mixture.mixture import Mixture

# PyYAML writes this character unescaped into a quoted string and reads it back as a space.
_NEXT_LINE = "\x85"


def written(fields: Any) -> str:
    """Return fields as YAML that `Mixture.from_config` can read.

    Args:
        fields: The fields as plain data.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        def represent_str(self, data: str) -> yaml.ScalarNode:
            style = '"' if _NEXT_LINE in data else None
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    text: str = yaml.dump(fields, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


M = TypeVar("M", bound="Mixture")

_PRESETS = files("langchain_moa") / "presets"


def presets() -> dict[str, str]:
    """Return the names of the presets, each with a one-line description.

    Example:
        ```python
        from langchain_moa import presets

        for name, description in presets().items():
            print(name, description)
        ```
    """
    found = sorted(_PRESETS.iterdir(), key=lambda each: each.name.removesuffix(".yaml"))
    return {each.name.removesuffix(".yaml"): _first_comment(each) for each in found if each.name.endswith(".yaml")}


def read_preset(cls: type[M], name: str, overrides: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None) -> M:
    """Make a mixture from a preset.

    Args:
        cls: `Mixture` or `ChatMoA`.
        name: The preset's name.
        overrides: Fields that override the preset's.
        defaults: Fields that the preset overrides.

    Raises:
        ValueError: There is no preset with this name; the message lists the presets.
    """
    if name not in presets():
        msg = f"unknown preset {name!r}; choose one of: {', '.join(presets())}"
        raise ValueError(msg)
    title = f"preset {name!r}"
    with _reading(title, title):
        values = {**(defaults or {}), **_values(_PRESETS / f"{name}.yaml", title)}
        return _make(cls, values, title, overrides)


def read_config(
    cls: type[M], path: str | Path, overrides: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None
) -> M:
    """Make a mixture from a YAML file.

    Args:
        cls: `Mixture` or `ChatMoA`.
        path: The file.
        overrides: Fields that override the file's.
        defaults: Fields that the file overrides.

    Raises:
        ValueError: The file does not exist, is not valid YAML, is not a mapping, contains a key, or includes itself as a
            member.
    """
    file = _existing(path)
    with _reading(str(file.resolve()), str(path)):
        return _make(cls, {**(defaults or {}), **_anchored(_values(file, str(path)), file.parent)}, str(path), overrides)


def read_mixtures(cls: type[M], path: str | Path, overrides: Mapping[str, Any]) -> dict[str, M]:
    """Make all mixtures of a YAML file: the only one, or several that are listed by name under `mixtures`.

    Args:
        cls: `Mixture` or `ChatMoA`.
        path: The file.
        overrides: Fields that override those of each mixture.

    Returns:
        The mixtures by name. The only mixture of a file is named after the file, without its extension.

    Raises:
        ValueError: As for `read_config`; or the file has other keys next to `mixtures`, or `mixtures` is not a mapping of
            mappings.
    """
    file = _existing(path)
    with _reading(str(file.resolve()), str(path)):
        return _several(cls, file, path, overrides)


def inner_mixtures(fields: Any) -> Iterator[dict[str, Any]]:
    """Yield the fields of each mixture that is a member of a mixture, at any depth, once.

    Args:
        fields: The fields of a mixture, as they are in a file.

    Raises:
        ValueError: One of the inner mixtures cannot be read.
    """
    seen: set[str] = set()
    waiting = list(_inner_names(fields))
    while waiting:
        if (name := waiting.pop(0)) in seen:
            continue
        seen.add(name)
        kind, _, what = name.partition(":")
        make: Any = dict
        inner: Any = read_preset(make, what, {}) if kind == "preset" else read_config(make, what, {})
        yield inner
        waiting += _inner_names(inner)


def _inner_names(fields: Any) -> Iterator[str]:
    for member in _members(fields):
        model = member.get("model") if isinstance(member, dict) else member
        if isinstance(member, dict) and "model" not in member:
            model = next((f"{kind}:{member[kind]}" for kind in ("preset", "config") if kind in member), None)
        if isinstance(model, str) and names_mixture(model):
            yield model


def _members(value: Any, key: str = "") -> Iterator[Any]:
    """Yield every string and mapping in the fields of a mixture, at any depth, that can describe a member."""
    if isinstance(value, dict):
        yield value
        for name, item in value.items():
            yield from _members(item, str(name)) if name not in _NO_MEMBERS else ()
    elif isinstance(value, list):
        for item in value:
            yield from _members(item, key)
    elif isinstance(value, str) and key != "model":
        yield value


# Fields whose strings never name a member.
_NO_MEMBERS = {"name", "prompt", "settings", "stop", "system_prompt"}

_files: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("files", default=())


@contextmanager
def _reading(key: str, title: str) -> Iterator[None]:
    """Raise an error if the mixture is already being read, which means that it includes itself.

    Args:
        key: Identifies the mixture.
        title: The mixture's name in errors.

    Raises:
        ValueError: The mixture is already being read.
    """
    before = _files.get()
    if key in [known for known, _ in before]:
        msg = f"{title} includes itself as a member: {' > '.join([*(each for _, each in before), title])}"
        raise ValueError(msg)
    token = _files.set((*before, (key, title)))
    try:
        yield
    finally:
        _files.reset(token)


def _anchored(value: Any, folder: Path, key: str = "") -> Any:
    """Return the fields of a file, with paths to other mixtures resolved relative to the file's folder."""
    if isinstance(value, dict):
        return {
            name: str(folder / item)
            if name == "config" and isinstance(item, str)
            else item
            if name in _NO_MEMBERS
            else _anchored(item, folder, str(name))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_anchored(item, folder, key) for item in value]
    if isinstance(value, str) and value.startswith("config:"):
        return f"config:{folder / value.removeprefix('config:').strip()}"
    return value


def _several(cls: type[M], file: Path, path: str | Path, overrides: Mapping[str, Any]) -> dict[str, M]:
    values = _anchored(_values(file, str(path)), file.parent)
    if "mixtures" not in values:
        return {file.stem: _make(cls, values, str(path), overrides)}
    several = values.pop("mixtures")
    if values or not isinstance(several, dict) or not all(isinstance(each, dict) for each in several.values()) or not several:
        msg = f"{path}: `mixtures` must be the only key of the file, and must map each name to a mapping of fields"
        raise ValueError(msg)
    return {str(name): _make(cls, each, f"{path}, mixture {name!r}", overrides) for name, each in several.items()}


def _existing(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        if file.is_dir():
            msg = f"{str(path)!r} is a folder; name the YAML file in it"
            raise ValueError(msg)
        msg = f"there is no configuration file {str(path)!r}"
        close = get_close_matches(file.name, (each.name for each in file.parent.glob("*.y*ml")), n=1)
        if close:
            msg += f"; did you mean {str(file.with_name(close[0]))!r}?"
        raise ValueError(msg)
    return file


def _values(file: Traversable, title: str) -> dict[Any, Any]:
    """Read a YAML mapping, and raise an error if it contains a key."""
    from langchain_moa.data.documents import read_yaml

    try:
        values = read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:  # includes UnicodeDecodeError
        msg = f"{title} is not valid YAML: {redact(str(error))}"
        raise ValueError(msg) from None
    if not isinstance(values, dict):
        problem = "is empty" if values is None else "is not a mapping of fields"
        msg = f"{title} {problem}; write fields such as `proposers: [...]`"
        raise ValueError(msg)  # noqa: TRY004  # the file is the invalid value
    if (secret := names_secret(values, allows=is_open)) is not None:
        msg = (
            f"{title} has {secret!r}; keys do not belong in files. Remove it and set the provider's environment variable, or "
            "refer to a variable of your own: ${NAME}"
        )
        raise ValueError(msg)
    return values


def _make(cls: type[M], values: dict[Any, Any], title: str, overrides: Mapping[str, Any]) -> M:
    if _is_nested(overrides.get("proposers")):
        # The number of lists sets the number of layers.
        values.pop("num_layers", None)
    try:
        return cls(**{str(name): value for name, value in values.items()} | dict(overrides))
    except ValidationError as error:
        msg = f"{title}: {explain(error)}"
        raise ValueError(msg) from error


def _is_nested(proposers: Any) -> bool:
    return isinstance(proposers, (list, tuple)) and any(isinstance(item, (list, tuple)) for item in proposers)


def _first_comment(file: Traversable) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
