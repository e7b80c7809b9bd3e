"""Generate the pictures of a report for the docs: `python -m tests.pictures docs/pictures`.

The local models answer. Two more proposers, at a loopback server, fail and are late, so that the picture shows failures.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from langchain_moa import ChatMoA, MoARun, Proposer, Retry, record_moa
from tests.integration_tests.runs.browser import FLAGS, find_chromium
from tests.loopback import Loopback, Reply

_QUESTION = "Why is the sky blue?"
_MARGIN = 18
_WIDTH = 1080


async def _answered() -> MoARun:
    with Loopback() as server, record_moa() as runs:
        server.script("broken", Reply("the model is overloaded", status=503))
        server.script("stuck", Reply("too late", hang=True))
        moa = ChatMoA(
            proposers=[
                Proposer("local:smollm2-135m", name="teacher", system_prompt="Answer in one or two short sentences."),
                Proposer("local:smollm2-135m", name="poet", system_prompt="Answer in two lines of verse."),
                Proposer("local:gemma3-270m", name="base model"),
                Proposer(server.chat("broken"), name="overloaded"),
                Proposer(server.chat("stuck"), name="slow"),
            ],
            aggregator="local:smollm2-135m",
            prompt="Here are answers from other assistants. Write one best answer to the question in one or two sentences.",
            quorum=3,
            quorum_grace=0.5,
            retry=Retry(attempts=3, initial=0.6),
            max_tokens=100,
            temperature=0,
        )
        async for _ in moa.astream(_QUESTION):
            pass
    return runs[0]


def _pictures(page_file: Path, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.locator("#wording details").first.evaluate("each => each.open = true")
        # The page down to the timeline, and then the wording.
        for name, first, last in (("report.png", "header", "#calls"), ("wording.png", "#wording", "#wording")):
            top, bottom = page.locator(first).bounding_box(), page.locator(last).bounding_box()
            assert top is not None
            assert bottom is not None
            begin, end = top["y"] - _MARGIN, bottom["y"] + bottom["height"] + _MARGIN
            page.screenshot(
                path=folder / name, full_page=True, clip={"x": 0, "y": begin, "width": _WIDTH, "height": end - begin}
            )
        browser.close()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        page_file = Path(folder) / "run.html"
        asyncio.run(_answered()).to_html(page_file)
        _pictures(page_file, Path(sys.argv[1]))
