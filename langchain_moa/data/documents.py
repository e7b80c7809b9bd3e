"""Safe YAML parsing: plain data only, without duplicate keys, and limited in depth and in size with aliases expanded."""

from __future__ import annotations

from typing import Any, NoReturn

import yaml

# Limits far above those of any real mixture.
_DEEPEST = 50
_MOST_VALUES = 100_000

# PyYAML reads a long number in more than linear time.
_LONGEST_NUMBER = 1_000


def read_yaml(text: str) -> Any:
    """Parse a YAML document.

    Args:
        text: The document.

    Returns:
        The document's content as plain data.

    Raises:
        ValueError: The document is not valid YAML, has a duplicate key, is nested too deeply, is recursive, or has too many
            values with aliases expanded. The message has the line and column, and does not quote the line.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # PyYAML's own text quotes the line, which may contain a secret.
        msg = f"{where}{error.problem or error.context}{_hint(error.problem or '')}"
        raise ValueError(msg) from None
    except yaml.reader.ReaderError as error:
        msg = f"position {error.position}: {error.reason}"
        raise ValueError(msg) from None


def _hint(problem: str) -> str:
    """Return what to check, for the errors that say only what the parser expected."""
    if "block end" in problem or problem.startswith("mapping values"):
        return "; check the indentation of this line and of those above it"
    if "'\\t'" in problem:
        return "; indent with spaces, not tabs"
    if "could not find expected ':'" in problem:
        return "; write a space after the colon of a key, here or in the line above"
    return ""


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[yaml.Node | None] = []
        self._sizes: dict[int, int] = {}
        self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # its stub has no types
        if len(self._open) >= _DEEPEST:
            _refuse(f"it is nested more than {_DEEPEST} levels deep", event)
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                _refuse(f"the anchor &{event.anchor} refers to itself", event)
            return node
        self._count += 1
        if self._count > _MOST_VALUES:
            _refuse(f"it has more than {_MOST_VALUES:,} values", event)
        self._open.append(parent)
        node = super().compose_node(parent, index)
        self._open.pop()
        self._sizes[id(node)] = size = 1 + sum(self._sizes[id(each)] for each in _children(node))
        if size > _MOST_VALUES:
            _refuse(f"it has more than {_MOST_VALUES:,} values, including those of its aliases", event)
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        # A longer text is not a number, even if it looks like one.
        if kind is yaml.ScalarNode and len(value) > _LONGEST_NUMBER and implicit[0]:
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # its stub has no types

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # PyYAML's signature
        seen: dict[Any, yaml.Node] = {}
        given: Any = node  # any node can have the tag `!!map`
        for key, _ in given.value if isinstance(given, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and (first := seen.setdefault(self._meant(key), key)) is not key:
                _refuse(f"a key appears twice in one mapping; the first is in line {first.start_mark.line + 1}", key)
        return super().construct_mapping(node, deep)

    def _meant(self, key: yaml.ScalarNode) -> Any:
        """Return what a key is in the mapping: `yes` and `true` are the same one."""
        return key.value if key.tag.endswith(":merge") else self.construct_object(key)


def _children(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse(problem: str, place: Any) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)
