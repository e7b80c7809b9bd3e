from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_moa.drawing import draw_mermaid, draw_png, draw_svg, save_drawing
from tests.full_disk import full_at
from tests.unit_tests.drawing.graphs import MODELS, mixture

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = mixture([MODELS[:2]])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("moa.svg", draw_svg(GRAPH, title="Ünïted").encode()),
        ("moa.SVG", draw_svg(GRAPH, title="Ünïted").encode()),
        ("moa.mmd", draw_mermaid(GRAPH, title="Ünïted").encode()),
        ("moa.txt", draw_mermaid(GRAPH, title="Ünïted").encode()),
        ("moa.md", f"```mermaid\n{draw_mermaid(GRAPH, title='Ünïted')}```\n".encode()),
    ],
)
def test_the_suffix_says_the_format(tmp_path: Path, name: str, content: bytes) -> None:
    path = save_drawing(GRAPH, str(tmp_path / name), title="Ünïted")
    assert path == tmp_path / name
    assert path.read_bytes() == content


def test_png_with_its_scale(tmp_path: Path) -> None:
    path = save_drawing(GRAPH, tmp_path / "moa.png", scale=1)
    assert path.read_bytes() == draw_png(GRAPH, scale=1)


@pytest.mark.parametrize(("name", "shown"), [("moa.jpg", "'.jpg'"), ("moa", "'no suffix'"), (".svg", "'no suffix'")])
def test_any_other_suffix_is_refused_and_nothing_written(tmp_path: Path, name: str, shown: str) -> None:
    with pytest.raises(ValueError, match=rf"^path: {shown} .* use one of \.svg, \.png, \.mmd, \.md, \.txt$"):
        save_drawing(GRAPH, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_drawing(GRAPH, tmp_path / "none" / "moa.svg")


def test_a_full_disk_leaves_the_old_picture_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "moa.svg"
    file.write_bytes(b"before")
    with full_at(100), pytest.raises(OSError, match=r"File too large: .*moa\.svg"):
        save_drawing(GRAPH, file)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]
