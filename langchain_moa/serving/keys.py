"""API keys: who may ask."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.serving.api_error import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHORTEST = 16


class Keys(NamedTuple):
    """The keys of a server; what is kept of them is not enough to know one.

    Attributes:
        digests: A digest of each.
    """

    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, keys: Iterable[str]) -> Keys:
        """Take keys.

        Args:
            keys: One or more for each client. None at all: everybody may ask.

        Raises:
            ValueError: One is empty, short, or has characters that no header can carry; the text does not show it.
        """
        if isinstance(keys, str):
            msg = "api_keys: give a list of keys, not one text"
            raise ValueError(msg)  # noqa: TRY004  # a wrong setting is a wrong value
        digests = []
        for number, key in enumerate(keys, start=1):
            if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                msg = (
                    f"API key {number}: a key has at least {_SHORTEST} characters, none of them a space; "
                    "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
                )
                raise ValueError(msg)
            digests.append(_digest(key))
        return cls(tuple(digests))

    def check(self, headers: Mapping[str, str]) -> None:
        """Let a request pass that has one of the keys.

        Args:
            headers: The request's headers.

        Raises:
            ApiError: It has none of them.
        """
        if not self.digests:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip())
        # Every key is compared, and in constant time, so that the time tells nothing of any.
        known = [compare_digest(digest, each) for each in self.digests]
        if scheme.lower() != "bearer" or not any(known):
            said = "this API key is not known here" if given else "there is no API key; send `Authorization: Bearer KEY`"
            raise ApiError(401, said, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
