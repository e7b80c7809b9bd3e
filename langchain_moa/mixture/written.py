"""A mixture's fields as YAML: what is written is what is read again."""

from __future__ import annotations

from typing import Any

# PyYAML writes it into a quoted text as it is, and reads it there as a space.
_NEXT_LINE = "\x85"


def written(fields: Any) -> str:
    """Return fields as the text of a file that `Mixture.from_config` reads.

    Args:
        fields: Plain data.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        def represent_str(self, data: str) -> yaml.ScalarNode:
            style = '"' if _NEXT_LINE in data else None
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    text: str = yaml.dump(fields, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
