"""Recorded runs of mixtures: recording, JSON, the page of a run, and the summary of many runs."""

from __future__ import annotations

import warnings
from typing import Any

from langchain_moa.runs.files import append_run, read_runs
from langchain_moa.runs.outline import Outline
from langchain_moa.runs.recorder import Recorder, record_moa
from langchain_moa.runs.run import AttemptRecord, CallRecord, MessageRecord, MoARun
from langchain_moa.runs.summary import summary_html

__all__ = [
    "AttemptRecord",
    "CallRecord",
    "MessageRecord",
    "MoARun",
    "Outline",
    "Recorder",
    "append_run",
    "read_runs",
    "record_moa",
    "summary_html",
]

_RENAMED: dict[str, Any] = {"Attempt": AttemptRecord, "Call": CallRecord, "Message": MessageRecord}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    warnings.warn(f"{__name__}.{name} is now {_RENAMED[name].__name__}", DeprecationWarning, stacklevel=2)
    return _RENAMED[name]
