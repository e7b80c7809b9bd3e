"""The page of a run: one file of HTML that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from langchain_moa.data.sanitizing import spelled_out
from langchain_moa.drawing import draw_svg
from langchain_moa.mixture.config import written
from langchain_moa.runs import figures
from langchain_moa.runs.difference import difference
from langchain_moa.runs.markdown import render
from langchain_moa.runs.support import MEASURE, read_by_aggregator, support_of
from langchain_moa.runs.waterfall import stages_of, ticks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2 import Environment

    from langchain_moa.runs.outline import Outline
    from langchain_moa.runs.run import MoARun

_FOLDER = Path(__file__).parent / "templates"
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)

# Longer, a heading is no heading.
_LONGEST_TITLE = 140


def run_page(run: MoARun) -> str:
    """Return the page of a run."""
    drawing, style = drawn(run.graph)
    stages = stages_of(run)
    return page(
        "run.html.j2",
        style=style,
        title=title_of(run),
        run=run,
        drawing=drawing,
        stages=stages,
        ticks=ticks_of(run),
        read=read_by_aggregator(run),
        support=support_of(run),
        measure=MEASURE,
        notes=list(_notes(run)),
        config=None if run.config is None else written(run.config),
    )


def page(template: str, *, style: str = "", **context: Any) -> str:
    """Return a page that loads nothing, from any place, and runs nothing but its own few lines of script.

    Args:
        template: The template.
        style: Style beside the pages' own.
        **context: What the template shows.
    """
    # The parts of a <style> and a <script> end at their closing tags; a browser hashes what stands between.
    css, js = _file("report.css") + style, _file("report.js")
    policy = f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(js)}'; base-uri 'none'; form-action 'none'"
    return _environment().get_template(template).render(css=Markup(css), js=Markup(js), policy=policy, **context)  # noqa: S704  # our own files


def framed(page: str) -> str:
    """Return a page as a part of another one, on which it has no effect."""
    style = "width:100%;height:640px;border:1px solid #8884;border-radius:8px"
    return f'<iframe sandbox title="Run of a mixture of agents" style="{style}" srcdoc="{escape(page)}"></iframe>'


def title_of(run: MoARun) -> str:
    """Return what a run is called: the last thing that was asked."""
    asked = next((message.text for message in reversed(run.question) if message.type == "human"), "")
    words = " ".join(spelled_out(asked).split())
    return words if len(words) <= _LONGEST_TITLE else f"{words[:_LONGEST_TITLE].rstrip()} …"


def drawn(outline: Outline | None) -> tuple[Markup, str]:
    """Return a graph's drawing for a page, and its style, which the page's policy must know."""
    if outline is None or not outline.nodes:
        return Markup(""), ""
    svg = draw_svg(outline.graph())
    # Paper is white, whatever the screen is.
    style = "".join(_STYLE.findall(svg)).replace("@media (prefers", "@media screen and (prefers")
    # The drawing is made here, by a library for XML, which escapes every name in it.
    return Markup(_STYLE.sub("", svg)), style  # noqa: S704  # see above


def _notes(run: MoARun) -> Iterator[str]:
    """Yield what is to be said about an answer, in words."""
    selected, stopped, degraded = (run.outcome.get(key) for key in ("selected", "stopped", "degraded"))
    if isinstance(selected, dict):
        yield f"The answer is the reference of {selected.get('name')}, chosen by {selected.get('by')}."
    if stopped:
        yield f"The layers ended early: {stopped}."
    if isinstance(degraded, list):
        yield from map(str, degraded)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "markdown": render,
        "seen": spelled_out,
        "seconds": figures.seconds,
        "dollars": figures.dollars,
        "count": figures.count,
        "percent": figures.percent,
        "pretty": _pretty,
    }
    environment.globals |= {"difference": difference}
    return environment


@cache
def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _pretty(value: Any) -> str:
    return spelled_out(json.dumps(value, ensure_ascii=False, indent=2))
