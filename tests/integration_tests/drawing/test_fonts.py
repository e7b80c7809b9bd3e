"""Names stay inside their cards whatever font the reader has, tested in a real browser with very different fonts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_moa.drawing import draw_svg
from langchain_moa.drawing.svg import SYSTEM_FONTS
from tests.integration_tests.runs.browser import browser
from tests.unit_tests.drawing.graphs import mixture
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

__all__ = ["browser"]

NAMES = [
    "together:meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "together:deepseek-ai/DeepSeek-V3.1",
    "openai:gpt-6.1-sol",
    "WWWWWWWWWWWWWWWWWWWWW",
    "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii",
    "模型/東京-大規模言語モデル",
    "Скептический рецензент",
    "المراجع المتشكك",
]

# By how much texts extend beyond their card, titles beyond their box, or the heading beyond the drawing.
OUTSIDE = """() => {
  const svg = document.querySelector("svg");
  const found = [];
  const check = (text, frame) => {
    const [inner, outer] = [text.getBoundingClientRect(), frame.getBoundingClientRect()];
    if (inner.left < outer.left || inner.right > outer.right) found.push(text.textContent);
  };
  for (const node of svg.querySelectorAll(".node"))
    for (const text of node.querySelectorAll("text")) if (node.querySelector("rect")) check(text, node.querySelector("rect"));
  const frames = [...svg.querySelectorAll(".group")];
  for (const text of svg.querySelectorAll(":scope > g > text.detail:not(.caption)"))
    if (!frames.some((frame) => {
      const [inner, outer] = [text.getBoundingClientRect(), frame.getBoundingClientRect()];
      return inner.left >= outer.left && inner.right <= outer.right && inner.bottom <= outer.bottom;
    })) found.push(text.textContent);
  svg.querySelectorAll(".caption").forEach((text, place) => check(text, svg.querySelectorAll(".group")[place]));
  svg.querySelectorAll(".label").forEach((text, place) => check(text, svg.querySelectorAll(".chip")[place]));
  check(svg.querySelector(".heading"), svg);
  return found;
}"""


@pytest.mark.parametrize("font", ["'DejaVu Sans'", "'DejaVu Sans Mono'", "serif"])
def test_names_stay_on_their_cards(browser: Browser, tmp_path: Path, font: str) -> None:
    graph = mixture(
        [NAMES, NAMES[::-1]], early_exit=True, role="a sceptical reviewer", filters=NAMES, stop_when="the answers agree"
    )
    svg = draw_svg(graph, title="A heading that is about as wide as what stands below it, and more")
    (tmp_path / "page.html").write_text(
        f"<!doctype html><meta charset=utf-8>{svg.replace(SYSTEM_FONTS, font)}", encoding="utf-8"
    )
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri(), timeout=1000 * PATIENCE)
    assert page.evaluate(OUTSIDE) == []
    page.close()
