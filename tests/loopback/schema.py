"""Generate values for a JSON schema from a text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Schema = dict[str, Any]

_QUOTED = re.compile(r"(?<!\w)(?:'([^']+)'|\"([^\"]+)\"|\u2018([^\u2019]+)\u2019|\u201c([^\u201d]+)\u201d)(?!\w)")
_PLACE = re.compile(r"\b(?:in|for|about|to|at|of)\s+([A-Z][^?!.;\n]*)")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_FORMATS = {
    "date": "2024-06-07",
    "time": "12:00:00Z",
    "date-time": "2024-06-07T12:00:00Z",
    "duration": "PT1H",
    "email": "user@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_DEPTH = 6


def numbers(text: str) -> list[float]:
    """Return the numbers in a text."""
    return [float(number) for number in _NUMBER.findall(text)]


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


@dataclass(slots=True)
class Maker:
    """Generates instances of a schema and its definitions.

    Values are taken from the text: its numbers, in order; its quoted strings, then names that
    follow a preposition; the value of an enum that it mentions. Missing values are filled in.

    Attributes:
        root: The root schema for `$ref`.
        text: The user's text.
    """

    root: Schema
    text: str
    _numbers: list[float] = field(init=False)
    _strings: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Parse the text."""
        self._numbers = numbers(self.text)
        quoted = ["".join(groups) for groups in _QUOTED.findall(self.text)]
        self._strings = quoted or _PLACE.findall(self.text)

    def make(self, schema: Schema | None = None, name: str = "value", depth: int = 0) -> Any:
        """Return an instance.

        Args:
            schema: A part of `root`. Default: all of it.
            name: The name of the part in its parent.
            depth: The depth in the instance. From six on, optional parts are left out.
        """
        schema = self._resolve(self.root if schema is None else schema, name, depth)
        if options := [schema["const"]] if "const" in schema else schema.get("enum"):
            mentioned = (option for option in options if str(option).lower() in self.text.lower())
            return next(mentioned, options[0])
        match self._kind(schema, name, depth):
            case "object":
                value: Any = self._object(schema, depth)
            case "array":
                value = self._array(schema, name, depth)
            case "integer":
                value = self._number({"multipleOf": 1, **schema})
            case "number":
                value = self._number(schema)
            case "boolean":
                value = True
            case "null":
                value = None
            case _:
                value = self._string(schema, name)
        return value

    def _kind(self, schema: Schema, name: str, depth: int) -> str:
        kinds = schema.get("type") or ("object" if "properties" in schema else "string")
        kinds = [kinds] if isinstance(kinds, str) else sorted(kinds, key="null".__eq__)
        return str(kinds[-1 if self._unwanted(name, depth) else 0])

    def _resolve(self, schema: Schema, name: str, depth: int) -> Schema:
        if "$ref" in schema:
            target: Any = self.root
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step.replace("~1", "/").replace("~0", "~")]
            return self._resolve({**target, **{k: v for k, v in schema.items() if k != "$ref"}}, name, depth)
        if "allOf" in schema:
            merged = {k: v for k, v in schema.items() if k != "allOf"}
            for part in schema["allOf"]:
                found = self._resolve(part, name, depth)
                properties = {**merged.get("properties", {}), **found.get("properties", {})}
                required = [*merged.get("required", ()), *found.get("required", ())]
                merged = {**found, **merged}
                if properties:
                    merged |= {"properties": properties, "required": required}
            return merged
        for union in ("anyOf", "oneOf"):
            if union in schema:
                choices = sorted(schema[union], key=lambda choice: choice.get("type") == "null")
                return self._resolve(choices[-1 if self._unwanted(name, depth) else 0], name, depth)
        return schema

    def _unwanted(self, name: str, depth: int) -> bool:
        return depth >= _DEPTH or f"no {name}".lower() in self.text.lower()

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: dict[str, Schema] = schema.get("properties", {})
        wanted: Iterable[str] = schema.get("required", properties)
        return {key: self.make(properties.get(key, {}), key, depth + 1) for key in wanted}

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        items: list[Schema] = [*schema.get("prefixItems", [])]
        few = 0 if depth >= _DEPTH or schema.get("maxItems") == 0 else 1
        fewest: int = schema.get("minItems", few)
        items += [schema.get("items") or {}] * (fewest - len(items))
        return [self.make(item, name, depth + 1) for item in items]

    def _number(self, schema: Schema) -> float:
        step: float | None = schema.get("multipleOf")
        above: float = schema.get("exclusiveMinimum", -math.inf)
        below: float = schema.get("exclusiveMaximum", math.inf)
        low: float = schema.get("minimum", above)
        high: float = schema.get("maximum", below)

        def fits(number: float) -> bool:
            inside = low <= number <= high and above < number < below
            return inside and (step is None or number % step == 0)

        while self._numbers:
            if fits(number := self._numbers.pop(0)):
                return _plain(number)
        stride = step or 1
        start = math.ceil(low / stride) * stride if low > -math.inf else min(0, high)
        candidates = (start, start + stride, start - stride, (low + high) / 2)
        return _plain(next(filter(fits, candidates), start))

    def _string(self, schema: Schema, name: str) -> str:
        if "format" in schema:
            return _FORMATS.get(schema["format"], name)
        pattern, most = schema.get("pattern", ""), schema.get("maxLength")
        while self._strings:
            found = self._strings.pop(0).strip()
            if re.search(pattern, found):
                return found[:most]
        if schema.get("examples"):
            return str(schema["examples"][0])
        filled = f"{name} for: {self.text}" if self.text else name
        return filled[:most].ljust(schema.get("minLength", 0), ".")
