"""API keys and their names."""

from __future__ import annotations

import re
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.serving.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SHORTEST = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

NO_KEY = "-"
"""The key's name for requests to a server without keys."""


class ApiKeys(NamedTuple):
    """The API keys of a server, as names and digests.

    Attributes:
        digests: The digest of each key.
        names: The name of each key, for the log, the metrics and the limit per key.
    """

    digests: tuple[bytes, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, keys: Iterable[str]) -> ApiKeys:
        """Parse keys.

        Args:
            keys: Each is `key` or `name: key`. Keys without a name are called `key-1`, `key-2`, ... Several keys can have the
                same name. If the list is empty, requests need no key.

        Raises:
            ValueError: A key is too short or has characters that a header cannot contain, or a name is invalid. The message
                does not contain the key.
        """
        if isinstance(keys, str):
            msg = "api_keys: give a list of keys, not a string"
            raise ValueError(msg)  # noqa: TRY004  # an invalid setting is a ValueError
        digests, names = [], []
        for number, entry in enumerate(keys, start=1):
            name, colon, key = entry.partition(": ")
            if not colon:
                name, key = f"key-{number}", entry
            elif not _NAME.fullmatch(name):
                msg = f"API key {number}: a name has up to 64 letters, digits and the characters . _ @ -; write `name: key`"
                raise ValueError(msg)
            key = key.strip()
            if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                msg = (
                    f"API key {number}: a key must have at least {_SHORTEST} printable ASCII characters without spaces; "
                    "create one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                )
                raise ValueError(msg)
            digests.append(_digest(key))
            names.append(name)
        return cls(tuple(digests), tuple(names))

    def owner_of(self, headers: Mapping[str, str]) -> str:
        """Return the name of a request's key.

        Args:
            headers: The request's headers, with lower-case names.

        Raises:
            ApiError: The key is missing or invalid.
        """
        if not self.digests:
            return NO_KEY
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip())
        # Compare all keys in constant time, so that timing reveals nothing about them.
        known = [compare_digest(digest, each) for each in self.digests]
        if scheme.lower() != "bearer" or not any(known):
            said = "invalid API key" if given else "missing API key; send the header `Authorization: Bearer KEY`"
            raise ApiError(401, said, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        return self.names[known.index(True)]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
