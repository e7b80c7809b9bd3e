from __future__ import annotations

import re

import pytest

from langchain_moa.drawing import draw_mermaid
from tests.unit_tests.drawing.graphs import MODELS, hand_made, mixture


def test_a_small_mixture_to_the_letter() -> None:
    graph = mixture([["openai:gpt-4.1-mini", "openai:gpt-4.1-nano"]], names=["sceptic", "openai:gpt-4.1-nano"])
    assert draw_mermaid(graph, title='My "mixture"') == (
        """\
---
title: "My \\"mixture\\""
---
flowchart LR
    __start__(("start"))
    subgraph box_layer_1["Layer 1"]
        direction TB
        layer_1_proposer_1("<b>sceptic</b><br/>openai:gpt-4.1-mini")
        layer_1_proposer_2("<b>openai:gpt-4.1-nano</b>")
    end
    merge_1(["merge"])
    aggregator("<b>Aggregator</b><br/>openai:gpt-4.1")
    __end__((("end")))
    __start__ --> layer_1_proposer_1 & layer_1_proposer_2
    layer_1_proposer_1 & layer_1_proposer_2 --> merge_1
    merge_1 --> aggregator
    aggregator --> __end__
    classDef box fill:#8b949e1f,stroke:#8b949e66
    class box_layer_1 box
    classDef last fill:#4f46e5,stroke:#7c3aed,color:#ffffff
    class aggregator last
"""
    )


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("proposers", [1, 12])
def test_every_layer_is_a_subgraph_with_its_models(layers: int, proposers: int) -> None:
    text = draw_mermaid(mixture([MODELS[:proposers]] * layers))
    boxes = re.findall(r'subgraph \w+\["(Layer \d+)"\]\n(.*?)\n    end', text, re.DOTALL)
    assert [title for title, _ in boxes] == [f"Layer {number + 1}" for number in range(layers)]
    for _, body in boxes:
        assert re.findall(r"<b>(.*?)</b>", body) == list(MODELS[:proposers])


def test_conditional_edges_are_dotted_and_labelled() -> None:
    text = draw_mermaid(hand_made([("a", "b"), ("a", "c"), ("c", "a")], labels=[None, "if | so", None]))
    assert "    step_a --> step_b\n" in text
    assert '    step_a -.->|"if #124; so"| step_c\n' in text
    assert "    step_c --> step_a\n" in text


def test_the_way_out_of_the_layers_is_named_and_the_way_on_is_not() -> None:
    text = draw_mermaid(mixture([["a", "b"]] * 2, early_exit=True))
    assert '    merge_1 -.->|"enough"| aggregator\n' in text
    assert "    merge_1 --> layer_2_proposer_1 & layer_2_proposer_2\n" in text


@pytest.mark.parametrize("name", ["end", "class", "o", "x", "subgraph", "style", "graph"])
def test_words_of_mermaid_are_no_ids(name: str) -> None:
    assert f'    step_{name}("<b>{name}</b>")\n' in draw_mermaid(hand_made([(name, "other")]))


def test_ids_are_plain_and_differ() -> None:
    text = draw_mermaid(hand_made([("a b", "a-b"), ("a-b", "A_b"), ("日本", "東京")]))
    ids = re.findall(r'^    (\w+)\("<b>', text, re.MULTILINE)
    assert ids == ["step_a_b", "step_a_b_2", "step_a_b_3", "step__", "step___2"]


@pytest.mark.parametrize(
    "name", ['a"] --> b["', "<script>", "#quot;", "`code`", "**bold**", "a\n---\nb", "1. one", "x;y", "$$z$$"]
)
def test_hostile_names_stay_inside_their_label(name: str) -> None:
    text = draw_mermaid(mixture([[name]], names=[name]))
    (label,) = re.findall(r'layer_1_proposer_1\("(.*)"\)', text)
    assert re.fullmatch(r"<b>(?:[\w .,:/@+-]|#\d+;)+</b>", label)
    assert not re.match(r"<b>\d+[.)]", label)
    assert len(text.splitlines()) == len(draw_mermaid(mixture([["x"]])).splitlines())
