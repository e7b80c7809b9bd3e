"""Plain data: whatever a run holds, as JSON has it, without secrets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from langchain_moa.data.redaction import conceal, known_secrets, masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import JsonValue

# Deeper than any settings, and less than Python's own limit.
_DEEPEST = 50


class Plain:
    """Makes plain data, and masks what is known to be secret, or looks like nothing but a key."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Make it for one run; the environment's secrets are read once.

        Args:
            secrets: Values known to be secret, beside those of the environment.
        """
        self._secrets = known_secrets(secrets)

    def text(self, value: Any) -> str:
        """Return a text that JSON can hold."""
        text = value if isinstance(value, str) else "" if value is None else str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            # Half a character, left where a server has cut its answer.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return conceal(text, self._secrets)

    def data(self, value: Any) -> Any:
        """Return data that JSON can hold; what it cannot is shown as Python names its type."""
        return self._plain(masked(value), 0)

    def mapping(self, value: Mapping[str, Any] | None) -> dict[str, JsonValue]:
        """Return a mapping that JSON can hold, empty for none."""
        return {} if value is None else self.data(dict(value))

    def _plain(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, (str, float)):
            return value if isinstance(value, float) and math.isfinite(value) else self.text(value)
        # A client's fields may hold anything: of a pydantic model there is its name, as of a function or a class.
        if depth < _DEEPEST and not isinstance(value, (BaseModel, bytes, bytearray)):
            if isinstance(value, Mapping):
                return {self.text(key): self._plain(item, depth + 1) for key, item in masked(value).items()}
            if isinstance(value, (Sequence, AbstractSet)):
                return [self._plain(item, depth + 1) for item in value]
        return f"<{getattr(value, '__name__', type(value).__name__)}>"
