"""Notebooks display a mixture and its graph without calling a model."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from IPython.core.formatters import DisplayFormatter

from langchain_moa import ChatMoA, create_moa
from langchain_moa.drawing import svg

MEMBERS: dict[str, Any] = {"proposers": ["openai:a", "openai:b"], "aggregator": "openai:agg", "api_key": "test-key-of-nobody"}


def shown(value: object) -> dict[str, str]:
    """Return what a notebook displays."""
    formatter = DisplayFormatter()
    formatter.active_types = ["text/plain", "text/html", "image/png", "image/svg+xml"]
    bundle: dict[str, str] = formatter.format(value)[0]  # type: ignore[no-untyped-call]  # IPython has no types here
    return bundle


VALUES = {
    "chat model": lambda: ChatMoA(**MEMBERS),
    "graph": lambda: create_moa(**MEMBERS),
    "compiled graph": lambda: create_moa(**MEMBERS).compile(),
    "configured graph": lambda: create_moa(**MEMBERS).compile().with_config(tags=["a"]),
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_it_is_drawn_and_nothing_is_loaded(make: Any) -> None:
    bundle = shown(make())
    assert set(bundle) == {"text/plain", "text/html"}
    drawing = ET.fromstring(bundle["text/html"])  # noqa: S314  # our own drawing
    assert drawing.tag == "div"
    text = "".join(drawing.itertext())
    assert all(name in text for name in ("Layer 1", "Layer 2", "agg"))
    addresses = {value for element in drawing.iter() for value in element.attrib.values() if "//" in value}
    assert addresses == set()
    assert not {"script", "img", "image", "link"} & {element.tag.rpartition("}")[2] for element in drawing.iter()}
    assert "test-key-of-nobody" not in "".join(bundle.values())


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_what_cannot_be_drawn_is_shown_as_text(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        msg = "no drawing today"
        raise RuntimeError(msg)

    monkeypatch.setattr(svg, "draw_svg", fail)
    value = make()
    assert set(shown(value)) == {"text/plain"}
