"""Runs: what happened in an answer, recorded; as JSON, as a page, and many of them in a summary."""

from __future__ import annotations

from langchain_moa.runs.call import Attempt, Call
from langchain_moa.runs.files import append_run, read_runs
from langchain_moa.runs.message import Message
from langchain_moa.runs.outline import Outline
from langchain_moa.runs.record import record_moa
from langchain_moa.runs.recorder import Recorder
from langchain_moa.runs.run import MoARun
from langchain_moa.runs.summary import summary_html

__all__ = [
    "Attempt",
    "Call",
    "Message",
    "MoARun",
    "Outline",
    "Recorder",
    "append_run",
    "read_runs",
    "record_moa",
    "summary_html",
]
