from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph

from langchain_moa import ChatMoA, Mixture, Proposer
from langchain_moa.drawing import draw_mermaid, draw_svg
from tests.unit_tests.drawing.graphs import AGGREGATOR, MODELS, Builder, State, choose, hand_made, mixture, nothing
from tests.unit_tests.drawing.picture import NAMESPACE, Picture, Rectangle

RANKED: dict[str, Any] = {
    "proposers": ["openai:a", "openai:b"],
    "aggregator": "openai:agg",
    "aggregation": "rank",
    "stop_when": "agreement",
    "api_key": "test",
}


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("proposers", [1, 2, 3, 6, 12])
def test_every_proposer_merge_and_edge_is_drawn_in_its_layer(layers: int, proposers: int) -> None:
    picture = Picture.of(mixture([MODELS[:proposers]] * layers))
    nodes = [Picture.name(node) for node in picture.root.iterfind(".//s:g[@class='node']", NAMESPACE)]
    assert sorted(nodes) == sorted(
        [*(MODELS[:proposers] * layers), *["merge"] * layers, f"Aggregator: {AGGREGATOR}", "start", "end"]
    )
    assert len(picture.edges) == 2 * layers * proposers + 2
    boxes = picture.groups("group")
    assert len(boxes) == layers
    assert [text for text in picture.texts if text.startswith("Layer")] == [f"Layer {n + 1}" for n in range(layers)]
    inside = [[card for card in picture.cards if card.inside(box)] for box in boxes]
    assert [len(cards) for cards in inside] == [proposers] * layers
    assert [box.x for box in boxes] == sorted(box.x for box in boxes)


def test_proposers_stand_below_each_other_in_their_order() -> None:
    picture = Picture.of(mixture([MODELS]))
    heights = [Picture.rectangle(picture.nodes[model][1]).y for model in MODELS]
    assert heights == sorted(heights)


def test_layers_may_differ() -> None:
    picture = Picture.of(mixture([MODELS[:4], MODELS[4:6], MODELS[:1]]))
    assert [sum(card.inside(box) for card in picture.cards) for box in picture.groups("group")] == [4, 2, 1]


def test_name_stands_above_the_model_id() -> None:
    picture = Picture.of(mixture([["openai:gpt-4.1-mini"]], names=["sceptic"]))
    assert Picture.lines(picture.nodes["sceptic: openai:gpt-4.1-mini"]) == ["sceptic", "openai:gpt-4.1-mini"]


@pytest.mark.parametrize(
    ("model", "name", "lines"),
    [
        ("openai:gpt-4.1-mini", "openai:gpt-4.1-mini", ["gpt-4.1-mini", "openai"]),
        ("openai:gpt-4.1-mini", "gpt-4.1-mini", ["gpt-4.1-mini", "openai"]),
        ("groq:openai/gpt-oss-120b", "groq:openai/gpt-oss-120b", ["gpt-oss-120b", "groq:openai"]),
        ("ollama:gpt-oss:20b", "ollama:gpt-oss:20b", ["gpt-oss:20b", "ollama"]),
        ("llama3:8b", "llama3:8b", ["llama3:8b"]),
        ("FakeListChatModel", "FakeListChatModel", ["FakeListChatModel"]),
        ("openai:gpt-4.1-mini", "mini", ["mini", "openai:gpt-4.1-mini"]),
    ],
)
def test_a_proposer_named_after_its_model_says_no_name_twice(model: str, name: str, lines: list[str]) -> None:
    picture = Picture.of(mixture([[model]], names=[name]))
    node = next(node for full_name, node in picture.nodes.items() if full_name.startswith(name))
    assert Picture.lines(node) == lines


def test_the_same_model_has_the_same_colour_in_every_layer() -> None:
    picture = Picture.of(mixture([MODELS[:3], MODELS[2:0:-1]]))
    bars: dict[str, set[str]] = {}
    for node in picture.root.iterfind(".//s:g[@class='node']", NAMESPACE):
        for bar in node.iterfind("s:rect[@fill]", NAMESPACE):
            bars.setdefault(Picture.name(node), set()).add(bar.attrib["fill"])
    colours = {name: colours for name, colours in bars.items() if name in MODELS}
    assert {len(found) for found in colours.values()} == {1}
    assert len(set.union(*colours.values())) == 3


def test_a_layer_with_only_long_model_ids_shows_their_ends_and_names_them_whole() -> None:
    model = "provider:" + "-".join(f"part{number}" for number in range(40))
    picture = Picture.of(mixture([[model]]))
    first, second, _ = Picture.lines(picture.nodes[model])
    assert first.startswith("part0-part1-")
    assert "…" in second
    assert second.endswith("-part39")
    assert picture.cards[0].width < 220


HOSTILE = (
    "</svg><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]>&amp;&nbsp;<!--",
    "nul\x00 bell\x07 escape\x1b[31m lone \ud800 end \ufffe",
    "right\u202eto left\u2066",
    "two\nlines\tand\rtabs",
    "模型/東京-大規模言語モデル",
    "🎉 e\u0301",
    " ",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_text(text: str) -> None:
    safe = mixture([["a", "b"]], names=["name", "other"])
    graph = mixture([[text, text]], names=[text, f"{text} 2"], aggregator=text)
    picture, plain = Picture.of(graph, title=text), Picture.of(safe, title="name")
    tags = {element.tag for element in picture.root.iter()}
    assert tags == {element.tag for element in plain.root.iter()}
    attributes = {name for element in picture.root.iter() for name in element.attrib}
    assert attributes == {name for element in plain.root.iter() for name in element.attrib}
    drawn = "".join("".join(element.itertext()) for element in picture.root.iter())
    assert not re.search("[\x00-\x08\x0b-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\ud800-\udfff]", drawn)


def test_texts_are_kept_to_the_letter() -> None:
    picture = Picture.of(mixture([["a<b>&\"c'"]], names=["x < y & z"]))
    assert "x < y & z" in picture.texts
    assert "a<b>&\"c'" in picture.texts


def test_early_exit_is_dashed_and_runs_above_the_layers() -> None:
    picture = Picture.of(mixture([MODELS[:3]] * 3, early_exit=True))
    exits = [picture.edges[f"merge_{number} to aggregator (enough)"] for number in (1, 2)]
    assert picture.texts.count("enough") == 2
    for edge in exits:
        assert edge.find("s:path[@class='dashed']", NAMESPACE) is not None
    tops = [_height(edge) for edge in exits]
    assert max(tops) < min(box.y for box in picture.groups("group"))
    assert tops[0] < tops[1]
    assert picture.edges["merge_3 to aggregator"].find("s:path[@class='line']", NAMESPACE) is not None
    onwards = [edge for name, edge in picture.edges.items() if name.startswith("merge_1 to layer_2")]
    assert len(onwards) == 3
    # Going on is what a mixture does by default; only what is left out for it is marked.
    assert all(edge.find("s:path[@class='line']", NAMESPACE) is not None for edge in onwards)


def test_early_exit_to_several_steps_is_one_way_to_their_box() -> None:
    picture = Picture.of(Mixture(**RANKED))
    rank = picture.groups("group")[-1]
    assert [text for text in picture.texts if text in {"Rank", "rank 1", "rank 2", "best first"}] == [
        *["Rank", "rank 1", "rank 2", "best first"]
    ]
    assert sum(card.inside(rank) for card in picture.cards) == 2
    exits = [edge for name, edge in picture.edges.items() if name.startswith("merge_1 to rank_")]
    assert len(exits) == 2
    assert picture.texts.count("enough") == 1
    assert {name.rpartition(" ")[2] for name in picture.edges if name.startswith("merge_1 to rank_")} == {"(enough)"}
    lanes = {_height(edge) for edge in exits}
    assert len(lanes) == 1
    assert lanes.pop() < min(box.y for box in picture.groups("group"))


@pytest.mark.parametrize("aggregation", ["vote", "select", "consistent"])
def test_whoever_gives_the_answer_is_marked(aggregation: str) -> None:
    picture = Picture.of(Mixture(**{**RANKED, "aggregation": aggregation}))
    marked = [
        name for name, node in picture.nodes.items() if node.find("s:text[@class='title onaccent']", NAMESPACE) is not None
    ]
    assert [name.partition(":")[0] for name in marked] == [aggregation]
    assert f"classDef last fill:#4f46e5,stroke:#7c3aed,color:#ffffff\n    class step_{aggregation} last" in draw_mermaid(
        Mixture(**{**RANKED, "aggregation": aggregation})
    )


def test_steps_of_a_graph_that_is_no_mixture_keep_their_names() -> None:
    picture = Picture.of(hand_made([("my_first", "my_last")]))
    assert picture.texts == ["my_first", "my_last"]
    assert picture.root.find(".//s:text[@class='title onaccent']", NAMESPACE) is None


def test_a_mixture_in_a_mixture_is_called_one() -> None:
    inner = ChatMoA(**{**RANKED, "aggregation": "synthesize"})
    outer = Mixture(**{**RANKED, "proposers": [inner, Proposer(inner, name="panel")], "aggregation": "synthesize"})
    picture = Picture.of(outer)
    assert {"mixture", "by openai:agg", "panel", "mixture by openai:agg"} <= set(picture.texts)
    assert "moa:moa" not in "".join(picture.texts)
    assert '("<b>mixture</b><br/>by openai:agg")' in draw_mermaid(outer)


def test_a_loop_runs_below_and_bears_its_label() -> None:
    graph = mixture([MODELS[:3]])
    graph.add_conditional_edges("merge_1", choose, {"done": END, "too few": "layer_1_proposer_1"})
    picture = Picture.of(graph)
    loop = picture.edges["merge_1 to layer_1_proposer_1 (too few)"]
    assert _height(loop, lowest=True) > max(box.y + box.height for box in picture.groups("group"))
    assert "too few" in picture.texts
    assert "done" in picture.texts


def _height(edge: object, *, lowest: bool = False) -> float:
    path = edge.find("s:path", NAMESPACE).attrib["d"]  # type: ignore[attr-defined]
    heights = [float(y) for y in re.findall(r"-?[\d.]+ (-?[\d.]+)", path)]
    return max(heights) if lowest else min(heights)


def strategy() -> Builder:
    """A graph with what strategies may add: nodes in a layer and outside, labels, a way around, a loop to itself."""
    graph: Builder = StateGraph(State)
    for name, metadata in {
        "route": None,
        "layer_1_proposer_1": {"layer": 1, "proposer": "a", "model": "openai:a"},
        "layer_1_proposer_2": {"layer": 1, "proposer": "b", "model": "openai:b"},
        "rank_1": {"layer": 1, "model": "openai:ranker"},
        "merge_1": {"layer": 1},
        "check_1": {"layer": 1},
        "judge": {"model": "openai:judge"},
        "fallback": None,
        "aggregator": {"model": "openai:last"},
    }.items():
        graph.add_node(name, nothing, metadata=metadata)
    graph.add_edge(START, "route")
    graph.add_conditional_edges(
        "route", choose, {"easy": "fallback", "hard": "layer_1_proposer_1", "harder": "layer_1_proposer_2"}
    )
    graph.add_edge(["layer_1_proposer_1", "layer_1_proposer_2"], "rank_1")
    graph.add_edge("rank_1", "merge_1")
    graph.add_edge("merge_1", "check_1")
    graph.add_conditional_edges("check_1", choose, {"agreed": "aggregator", "ask": "judge", "again": "route"})
    graph.add_conditional_edges("judge", choose, {"write": "aggregator", "think": "judge"})
    graph.add_edge("aggregator", END)
    graph.add_edge("fallback", END)
    return graph


def test_what_else_is_in_the_graph_is_drawn_too() -> None:
    picture = Picture.of(strategy())
    (box,) = picture.groups("group")
    assert sum(card.inside(box) for card in picture.cards) == 3  # the proposers and the ranker, which comes before the merge
    assert {"route", "fallback", "judge: openai:judge", "check_1", "rank_1: openai:ranker"} <= set(picture.nodes)
    assert {"easy", "hard", "harder", "agreed", "ask", "again", "write", "think"} <= set(picture.texts)
    assert "judge to judge (think)" in picture.edges


def test_opened_subgraphs_have_boxes_of_their_own() -> None:
    outer: Builder = StateGraph(State)
    outer.add_node("moa", mixture([MODELS[:2]]).compile())
    outer.add_node("tools", nothing)
    outer.add_edge(START, "moa")
    outer.add_conditional_edges("moa", choose, {"call": "tools", "done": END})
    outer.add_edge("tools", "moa")
    picture = Picture.of(outer.compile().get_graph(xray=True))
    (nest,), (layer,) = picture.groups("nest"), picture.groups("group")
    assert layer.inside(nest)
    assert sum(card.inside(nest) for card in picture.cards) == 4
    assert "moa" in picture.texts
    assert picture.texts.count("start") == 1  # the inner one is passed through
    assert "moa" in Picture.of(outer).nodes  # and closed it is one card


def test_whatever_has_the_graph_is_drawn_the_same() -> None:
    builder = mixture([MODELS[:2]])
    compiled = builder.compile()

    class Described:
        def to_graph(self) -> Builder:
            return builder

        def get_graph(self) -> None:
            pytest.fail("a mixture is a Runnable too, but that one has no proposers")

    drawings = {draw_svg(builder), draw_svg(compiled), draw_svg(compiled.get_graph()), draw_svg(Described())}
    assert len(drawings) == 1


def test_the_same_graph_gives_the_same_text_in_every_process() -> None:
    code = (
        "from langchain_moa.drawing import draw_svg\n"
        "from tests.unit_tests.drawing.test_svg import strategy\n"
        "print(draw_svg(strategy()), end='')"
    )
    # Another seed of the hashes, and so another order in whatever is a set.
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-X", "utf8", "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == draw_svg(strategy())


def test_says_what_it_shows_to_those_who_cannot_see_it() -> None:
    picture = Picture.of(mixture([MODELS[:2]] * 2), title="My mixture")
    root = picture.root
    assert root.attrib["role"] == "img"
    title, description = (root.find(f"s:{tag}", NAMESPACE) for tag in ("title", "desc"))
    assert title is not None
    assert description is not None
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], description.attrib["id"]]
    assert title.text == "My mixture"
    assert "My mixture" in picture.texts
    assert f"layer 2: {MODELS[0]}, {MODELS[1]}" in (description.text or "")


def test_two_drawings_on_one_page_share_no_ids() -> None:
    ids = [
        {element.attrib["id"] for element in Picture.of(mixture([MODELS[:n]])).root.iter() if "id" in element.attrib}
        for n in (1, 2)
    ]
    assert len(ids[0]) == 3
    assert ids[0].isdisjoint(ids[1])


def test_has_a_light_and_a_dark_scheme_and_nothing_from_outside() -> None:
    svg = draw_svg(mixture([MODELS[:2]]))
    light, dark = re.findall(r"\.moa \.canvas\{fill:(#\w+)\}", svg)
    assert "@media (prefers-color-scheme:dark)" in svg
    assert light != dark
    outside = svg.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|@font-face|<script|href|data:", outside)


def test_a_style_for_every_class() -> None:
    svg = draw_svg(strategy(), title="x")
    used = set(itertools.chain.from_iterable(classes.split() for classes in re.findall(r'class="([^"]*)"', svg)))
    assert used - {"moa", "node", "edge"} <= set(re.findall(r"\.([a-z]+)", svg.partition("</style>")[0]))


@pytest.mark.parametrize("graph", [3, None, "graph", StateGraph])
def test_what_has_no_graph_is_refused(graph: object) -> None:
    with pytest.raises(TypeError, match=r"^graph: .* cannot be drawn; pass a StateGraph"):
        draw_svg(graph)  # type: ignore[arg-type]  # on purpose


def test_a_graph_without_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^graph: it has no nodes"):
        draw_svg(hand_made([]))


NAMES = st.sampled_from(["__start__", "__end__", "a", "b", "c", "d", "e", "merge_1", "p1", "p2", "sub:a", "sub:b", "sub:in:a"])
METADATA: dict[str, dict[str, object]] = {
    "p1": {"layer": 1, "proposer": "p1", "model": "openai:x"},
    "p2": {"layer": 1, "proposer": "p2", "model": "openai:y"},
    "merge_1": {"layer": 1},
    "sub:a": {"layer": 1, "proposer": "q", "model": "openai:x"},
    "c": {"layer": 1},
}
LABELS = st.sampled_from([None, "yes", "a rather long label of an edge"])


@settings(max_examples=80)
@given(st.lists(st.tuples(NAMES, NAMES, LABELS), min_size=1, max_size=16))
def test_any_graph_is_drawn_whole_and_nothing_lies_on_anything(edges: list[tuple[str, str, str | None]]) -> None:
    graph = hand_made([(a, b) for a, b, _ in edges], labels=[label for _, _, label in edges], metadata=METADATA)
    picture = Picture.of(graph)
    width, height = picture.size
    drawn = picture.root.findall(".//s:g[@class='edge']", NAMESPACE)
    assert len(drawn) == len(edges)
    assert len(picture.root.findall(".//s:g[@class='node']", NAMESPACE)) == len(graph.nodes)
    for one, other in itertools.combinations(picture.cards, 2):
        assert not one.overlaps(other)
    x, y = picture.offset
    canvas = Rectangle(-x, -y, width, height)
    assert all(box.inside(canvas) for box in [*picture.cards, *picture.groups("group"), *picture.groups("nest")])
    assert all(0 <= px <= width and 0 <= py <= height for px, py in picture.points())
