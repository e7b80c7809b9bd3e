from __future__ import annotations

import re
import struct
import sys
import zlib

import pytest

from langchain_moa.drawing import draw_png, draw_svg
from tests.unit_tests.drawing.graphs import MODELS, mixture


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """Return a PNG's width, height and uncompressed lines; fails if it is incomplete."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    return width, height, zlib.decompress(data)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 3])
def test_has_the_size_of_the_svg_times_the_scale(scale: float) -> None:
    graph = mixture([MODELS[:3]] * 2)
    sizes = [int(size) for size in re.findall(r' (?:width|height)="(\d+)"', draw_svg(graph).partition(">")[0])]
    width, height, lines = pixels(draw_png(graph, scale=scale))
    assert [width, height] == pytest.approx([size * scale for size in sizes], abs=0.5)
    assert len(lines) == height * (1 + 4 * width)


def test_texts_are_drawn_in_a_font_of_our_own() -> None:
    # resvg draws nothing for a text without a font; the machine's own fonts are not looked through for these letters.
    blank, named = (draw_png(mixture([["x"]], names=[name])) for name in ("iiii", "ЖÜΩg"))
    assert pixels(blank)[2] != pixels(named)[2]


def test_the_title_is_drawn_above() -> None:
    graph = mixture([MODELS[:2]])
    assert pixels(draw_png(graph, title="A title"))[1] > pixels(draw_png(graph))[1]


@pytest.mark.parametrize("name", ["日本語モデル", "نموذج", "मॉडल", "🎉👩‍👩‍👧", "\x00\ud800</svg>"])
def test_letters_that_the_font_lacks_do_no_harm(name: str) -> None:
    assert pixels(draw_png(mixture([[name]], names=[name]), title=name))[0] > 0


def test_is_the_same_every_time() -> None:
    graph = mixture([MODELS[:2]])
    assert draw_png(graph) == draw_png(graph)


@pytest.mark.parametrize("scale", [0, -1, 9, float("nan"), float("inf")])
def test_a_senseless_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=r"^scale: .* must be above 0 and at most 8"):
        draw_png(mixture([MODELS[:1]]), scale=scale)


@pytest.mark.parametrize("module", ["resvg_py", "fontpkg"])
def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape('pip install "langchain-moa[draw]"')):
        draw_png(mixture([MODELS[:1]]))


def test_without_the_font_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_moa.drawing.png.FONT", "No Such Font")
    with pytest.raises(ImportError, match=re.escape('pip install "langchain-moa[draw]"')):
        draw_png(mixture([MODELS[:1]]))
