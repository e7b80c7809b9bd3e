from __future__ import annotations

import re

import pytest
import yaml
from langgraph.graph import END, START, StateGraph

from langchain_moa.drawing import draw_mermaid
from tests.unit_tests.drawing.graphs import MODELS, Builder, State, hand_made, mixture


def test_a_small_mixture_to_the_letter() -> None:
    graph = mixture([["openai:gpt-4.1-mini", "openai:gpt-4.1-nano"]], names=["sceptic", "openai:gpt-4.1-nano"])
    assert draw_mermaid(graph, title='My "mixture"') == (
        """\
---
title: "My \\"mixture\\""
---
flowchart LR
    __start__(("start"))
    subgraph frame_2["Layer 1"]
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
    classDef frame fill:#8b949e1f,stroke:#8b949e66
    class frame_2 frame
    classDef answer fill:#5a48e0,stroke:#5a48e0,color:#ffffff
    class aggregator answer
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
    text = draw_mermaid(hand_made([("a", "b"), ("a", "c"), ("c", "a")], labels=[None, "if | so", None], proposer="a"))
    assert "    step_a --> step_b\n" in text
    assert '    step_a -.->|"if #124; so"| step_c\n' in text
    assert "    step_c --> step_a\n" in text


def test_the_way_out_of_the_layers_is_named_and_the_way_on_is_not() -> None:
    text = draw_mermaid(mixture([["a", "b"]] * 2, early_exit=True))
    assert '    merge_1 -.->|"early exit"| aggregator\n' in text
    assert "    merge_1 --> layer_2_proposer_1 & layer_2_proposer_2\n" in text


def test_roles_filters_and_the_stop_condition_are_named() -> None:
    graph = mixture([["a"]] * 2, early_exit=True, role="sceptic", filters=["duplicates", "judge"], stop_when="agreement")
    text = draw_mermaid(graph)
    assert '    layer_2_proposer_1("<b>a</b><br/>role: sceptic")\n' in text
    assert '    merge_2(["merge<br/>filters: duplicates, judge"])\n' in text
    assert '    merge_1 -.->|"stop: agreement"| aggregator\n' in text


@pytest.mark.parametrize("name", ["end", "class", "o", "x", "subgraph", "style", "graph", "frame_2"])
def test_words_of_mermaid_are_no_ids(name: str) -> None:
    assert f'    step_{name}("<b>{name.replace("_", " ")}</b>")\n' in draw_mermaid(hand_made([("p", name)], proposer="p"))


def test_ids_are_plain_and_differ() -> None:
    text = draw_mermaid(hand_made([("a b", "a-b"), ("a-b", "A_b"), ("日本", "東京")], proposer="a b"))
    ids = re.findall(r'^ +(\w+)\("<b>', text, re.MULTILINE)
    assert sorted(ids) == ["step__", "step___2", "step_a_b", "step_a_b_2", "step_a_b_3"]


def test_any_other_graph_is_drawn_by_langgraph() -> None:
    outer: Builder = StateGraph(State)
    outer.add_node("moa", mixture([MODELS[:2]]).compile())
    outer.add_edge(START, "moa")
    outer.add_edge("moa", END)
    compiled = outer.compile()
    assert draw_mermaid(outer) == draw_mermaid(compiled) == compiled.get_graph().draw_mermaid()
    opened = compiled.get_graph(xray=True)
    assert draw_mermaid(opened) == opened.draw_mermaid()
    front, _, chart = draw_mermaid(outer, title='A "title"').partition("\n---\n")
    assert yaml.safe_load(front)["title"] == 'A "title"'
    assert chart == compiled.get_graph().draw_mermaid().partition("\n---\n")[2]


@pytest.mark.parametrize(
    "name", ['a"] --> b["', "<script>", "#quot;", "`code`", "**bold**", "a\n---\nb", "1. one", "x;y", "$$z$$"]
)
def test_hostile_names_stay_inside_their_label(name: str) -> None:
    text = draw_mermaid(mixture([[name]], names=[name]))
    (label,) = re.findall(r'layer_1_proposer_1\("(.*)"\)', text)
    assert re.fullmatch(r"<b>(?:[\w .,:/@+-]|#\d+;)+</b>", label)
    assert not re.match(r"<b>\d+[.)]", label)
    assert len(text.splitlines()) == len(draw_mermaid(mixture([["x"]])).splitlines())
