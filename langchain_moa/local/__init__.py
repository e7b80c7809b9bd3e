"""Small models on this machine: no key, and no network once they are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_moa.local.catalog import CATALOG, LocalModel
from langchain_moa.local.errors import (
    ChecksumError,
    DownloadError,
    LocalModelError,
    ModelMissingError,
    PackageMissingError,
    PipMissingError,
    PullError,
    ServerError,
    UnknownModelError,
)
from langchain_moa.local.pull import cache_dir, is_present, pull

if TYPE_CHECKING:
    from langchain_moa.local.chat_model import ChatLocal

__all__ = [
    "CATALOG",
    "ChatLocal",
    "ChecksumError",
    "DownloadError",
    "LocalModel",
    "LocalModelError",
    "ModelMissingError",
    "PackageMissingError",
    "PipMissingError",
    "PullError",
    "ServerError",
    "UnknownModelError",
    "cache_dir",
    "is_present",
    "pull",
]


def __getattr__(name: str) -> Any:
    # The catalog is for everyone; the chat model brings the OpenAI client along.
    if name == "ChatLocal":
        from langchain_moa.local.chat_model import ChatLocal

        return ChatLocal
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
