"""API keys: which clients may ask, and under which name."""

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

ANYBODY = "-"
"""The name of callers of a server without keys."""


class ApiKeys(NamedTuple):
    """The API keys of a server: names and digests, from which no key can be read.

    Attributes:
        digests: The digest of each key.
        names: The name of each key's owner, for the log, the metrics and the limit per key.
    """

    digests: tuple[bytes, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, keys: Iterable[str]) -> ApiKeys:
        """Read keys.

        Args:
            keys: Each a key, or `name: key`; without a name a key is called `key-1`, `key-2`, ... Several keys may have the
                same name. An empty list means that nobody needs a key.

        Raises:
            ValueError: A key is empty or short, or has characters that a header cannot carry; or a name is wrong. The
                message does not show the key.
        """
        if isinstance(keys, str):
            msg = "api_keys: give a list of keys, not one text"
            raise ValueError(msg)  # noqa: TRY004  # a wrong setting is a wrong value
        digests, names = [], []
        for number, entry in enumerate(keys, start=1):
            name, colon, key = entry.partition(": ")
            if not colon:
                name, key = f"key-{number}", entry
            elif not _NAME.fullmatch(name):
                msg = f"API key {number}: a name has up to 64 letters, digits and . _ @ -; write `name: key`"
                raise ValueError(msg)
            key = key.strip()
            if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                msg = (
                    f"API key {number}: a key has at least {_SHORTEST} characters, none of them a space; "
                    "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
                )
                raise ValueError(msg)
            digests.append(_digest(key))
            names.append(name)
        return cls(tuple(digests), tuple(names))

    def owner_of(self, headers: Mapping[str, str]) -> str:
        """Return the name of the key that a request has.

        Args:
            headers: The request's headers, with lower-case names.

        Raises:
            ApiError: It has none of the keys.
        """
        if not self.digests:
            return ANYBODY
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip())
        # All keys are compared, in constant time, so that the time says nothing about any of them.
        known = [compare_digest(digest, each) for each in self.digests]
        if scheme.lower() != "bearer" or not any(known):
            said = "this API key is not known here" if given else "there is no API key; send `Authorization: Bearer KEY`"
            raise ApiError(401, said, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        return self.names[known.index(True)]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
