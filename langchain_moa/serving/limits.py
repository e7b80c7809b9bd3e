"""What a client may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass, fields

MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The bounds of a server.

    Attributes:
        max_requests: Answers under way at once, each of which is many calls; who comes then is sent away with a 429 and told
            when to come again. Default: 64.
        max_body_bytes: The longest request, images included. Default: 16 MiB.
        timeout: Seconds that one request may take, from its first byte to the last of the answer. Default: 600, which is how
            long OpenAI's clients wait.
        ping: Seconds of silence in a stream after which a comment is sent. Default: 15.

    Raises:
        ValueError: One of them is not above zero.
    """

    max_requests: int = 64
    max_body_bytes: int = 16 * MEBIBYTE
    timeout: float = 600.0
    ping: float = 15.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                msg = f"{field.name}: {getattr(self, field.name)} must be above 0"
                raise ValueError(msg)
