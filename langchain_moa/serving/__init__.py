"""Serve mixtures over HTTP to clients of OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.serving.app import make_app

__all__ = ["make_app"]

_PACKAGES = {"starlette", "prometheus_client"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        from langchain_moa.serving.app import make_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        msg = 'serving needs other packages: pip install "langchain-moa[serve]"'
        raise ImportError(msg) from error
    return make_app
