"""Draw the graph of a mixture as Mermaid and as SVG, without calling a model or a web service."""

from __future__ import annotations

import tempfile
from pathlib import Path

from _models import AGGREGATOR, PROPOSERS

from langchain_moa import create_moa
from langchain_moa.drawing import draw_mermaid, save_drawing

graph = create_moa(PROPOSERS, AGGREGATOR, num_layers=2)

print("As Mermaid, which GitHub, GitLab and many editors show as a picture:\n")
print(draw_mermaid(graph))

picture = save_drawing(graph, Path(tempfile.gettempdir()) / "moa.svg", title="My mixture")
print(f"As a picture, to open in a browser: {picture}")
