"""Small models that run on this machine. They need no API key, and no network after the download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_moa.local.catalog import (
    CATALOG,
    ChecksumError,
    DownloadError,
    LocalModel,
    LocalModelError,
    ModelMissingError,
    PackageMissingError,
    PipMissingError,
    PullError,
    ServerError,
    UnknownModelError,
)
from langchain_moa.local.download import cache_dir, is_present, pull

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
    # Imported lazily, because the chat model imports the OpenAI client.
    if name == "ChatLocal":
        from langchain_moa.local.chat_model import ChatLocal

        return ChatLocal
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
