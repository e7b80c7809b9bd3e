"""Mixtures work with the core dependencies alone: extras are imported only when they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

EXTRAS = (
    *("typer", "rich", "prompt_toolkit", "platformdirs"),  # cli
    *("jinja2", "markdown_it", "markupsafe"),  # report
    *("inspect_ai", "math_verify", "matplotlib", "scipy", "filelock"),  # eval
    *("starlette", "uvicorn"),  # serve
    *("xllamacpp", "resvg_py", "langgraph_api"),  # local, draw, studio
)

CODE = f"""
import sys

for name in {EXTRAS}:
    sys.modules[name] = None

import langchain_moa
from langchain_moa import *

for name in langchain_moa.__all__:
    getattr(langchain_moa, name)
members = {{"proposers": ["openai:a", "openai:b"], "aggregator": "openai:c", "api_key": "none"}}
create_moa(**members).compile()
ChatMoA(**members)
create_moa(Mixture.from_preset("openai", api_key="none"))
print("it works")
"""


def test_mixtures_need_no_extra() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    assert done.stdout == "it works\n", done.stderr
