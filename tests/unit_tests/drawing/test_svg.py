from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph

from langchain_moa import ChatMoA, Proposer, create_moa
from langchain_moa.drawing import draw_mermaid, draw_png, draw_svg
from tests.unit_tests.drawing.graphs import AGGREGATOR, MODELS, Builder, State, choose, hand_made, mixture, nothing
from tests.unit_tests.drawing.picture import NAMESPACE, Picture, Rectangle

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph

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
    assert sorted(picture.names) == sorted(
        [*(MODELS[:proposers] * layers), *["merge"] * layers, f"Aggregator: {AGGREGATOR}", "start", "end"]
    )
    assert len(picture.edges) == 2 * layers * proposers + 2
    frames = picture.groups("group")
    assert len(frames) == layers
    assert [text for text in picture.texts if text.startswith("Layer")] == [f"Layer {n + 1}" for n in range(layers)]
    inside = [[id_ for id_, box in picture.box.items() if box.inside(frame)] for frame in frames]
    for number, ids in enumerate(inside, start=1):
        assert len([id_ for id_ in ids if id_.startswith(f"layer_{number}_")]) == proposers
        assert f"merge_{number}" in ids
    assert [frame.x for frame in frames] == sorted(frame.x for frame in frames)


def test_a_dozen_proposers_in_three_layers_fit_a_readme() -> None:
    width, height = Picture.of(mixture([MODELS] * 3, early_exit=True)).size
    assert width <= 900
    assert height <= 720


def test_proposers_stand_below_each_other_in_their_order() -> None:
    picture = Picture.of(mixture([MODELS]))
    heights = [picture.box[f"layer_1_proposer_{number:02}"].y for number in range(1, 13)]
    assert heights == sorted(heights)


def test_layers_may_differ() -> None:
    picture = Picture.of(mixture([MODELS[:4], MODELS[4:6], MODELS[:1]]))
    proposers = [box for id_, box in picture.box.items() if "proposer" in id_]
    assert [sum(box.inside(frame) for box in proposers) for frame in picture.groups("group")] == [4, 2, 1]


def test_arrows_between_proposers_and_merges_are_straight() -> None:
    picture = Picture.of(mixture([MODELS[:4], MODELS[4:6], MODELS[:3]]))
    found = [Picture.ends(edge) for name, edge in picture.edges.items() if "proposer" in name and "__start__" not in name]
    assert len(found) == 4 + 2 + 2 + 3 + 3
    assert all(start[1] == end[1] and start[0] < end[0] for start, end in found)


def test_name_stands_above_the_model_id() -> None:
    picture = Picture.of(mixture([["openai:gpt-4.1-mini"]], names=["sceptic"]))
    assert Picture.lines(picture.nodes["layer_1_proposer_1"]) == ["sceptic", "openai:gpt-4.1-mini"]
    assert "sceptic: openai:gpt-4.1-mini" in picture.names


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
        ("openai:gpt-4.1-mini", "openai:gpt-4.1-mini #2", ["gpt-4.1-mini #2", "openai"]),
        ("moa:moa/gpt-4.1", "moa:moa/gpt-4.1 #2", ["mixture #2", "by gpt-4.1"]),
    ],
)
def test_a_proposer_named_after_its_model_says_no_name_twice(model: str, name: str, lines: list[str]) -> None:
    picture = Picture.of(mixture([[model]], names=[name]))
    assert Picture.lines(picture.nodes["layer_1_proposer_1"]) == lines


def test_proposers_of_one_name_are_told_apart_and_named_like_all_others() -> None:
    graph = mixture([["local:a", "local:b", "local:a"]], names=["local:a #1", "local:b", "local:a #2"])
    assert {"local:a #1", "local:b", "local:a #2"} <= {*Picture.of(graph).names}
    assert re.findall(r"<b>(local:.*?)</b>", draw_mermaid(graph)) == ["local:a #35;1", "local:b", "local:a #35;2"]


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
    first, second, provider = Picture.lines(picture.nodes["layer_1_proposer_1"])
    assert first.startswith("part0-part1-")
    assert "…" in second
    assert second.endswith("-part39")
    assert provider == "provider"
    assert model in picture.names
    assert picture.box["layer_1_proposer_1"].width < 170


def test_roles_filters_and_the_stop_condition_are_shown() -> None:
    graph = mixture([MODELS[:2]] * 2, early_exit=True, role="sceptic", filters=["duplicates", "judge"], stop_when="agreement")
    picture = Picture.of(graph)
    assert picture.texts.count("role: sceptic") == 4
    assert picture.texts.count("filters: duplicates, judge") == 2
    assert picture.texts.count("stop: agreement") == 1
    assert "merge_1 to aggregator (stop: agreement)" in picture.edges


def test_many_filters_stay_inside_the_frame() -> None:
    picture = Picture.of(mixture([["openai:a"]], filters=[f"a_filter_{number}" for number in range(40)]))
    (frame,) = picture.groups("group")
    (notes,) = [[text for text in picture.root.iterfind(".//s:text", NAMESPACE) if "filter" in (text.text or "")]]
    assert len(notes) == 3
    assert all(frame.y < float(text.attrib["y"]) < frame.y + frame.height for text in notes)
    assert all(float(text.attrib["x"]) + float(text.attrib["textLength"]) < frame.x + frame.width for text in notes)


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
    exits = [picture.edges[f"merge_{number} to aggregator (early exit)"] for number in (1, 2)]
    assert picture.texts.count("early exit") == 2
    for edge in exits:
        assert edge.find("s:path[@class='dashed']", NAMESPACE) is not None
    tops = [_height(edge) for edge in exits]
    assert max(tops) < min(box.y for box in picture.groups("group"))
    assert tops[0] < tops[1]
    assert picture.edges["merge_3 to aggregator"].find("s:path[@class='line']", NAMESPACE) is not None
    onwards = [edge for name, edge in picture.edges.items() if name.startswith("merge_1 to layer_2")]
    assert len(onwards) == 3
    # Going on is the default of a mixture; only the exit is marked.
    assert all(edge.find("s:path[@class='line']", NAMESPACE) is not None for edge in onwards)


def test_early_exit_to_several_steps_is_one_way_to_their_frame() -> None:
    picture = Picture.of(create_moa(**RANKED))
    frame = picture.groups("group")[-1]
    assert {"Rank", "rank 1", "rank 2", "best first"} <= set(picture.texts)
    assert sum(box.inside(frame) for box in picture.box.values()) == 2
    (exits,) = [edge for name, edge in picture.edges.items() if name.startswith("merge_1 to rank_")]
    assert Picture.name(exits) == "merge_1 to rank_1, rank_2 (stop: agreement)"
    assert picture.texts.count("stop: agreement") == 1
    assert frame.touches(Picture.ends(exits)[1])


@pytest.mark.parametrize(
    "aggregation", ["synthesize", "analyze", "consistent", "medoid", "rank", "select", "sequential", "vote"]
)
def test_every_aggregation_is_drawn_and_what_gives_the_answer_is_marked(aggregation: str) -> None:
    graph = create_moa(**{**RANKED, "aggregation": aggregation}).compile().get_graph()
    picture = Picture.of(graph)
    assert set(picture.nodes) == set(graph.nodes)
    _check(picture, {(edge.source, edge.target) for edge in graph.edges})
    marked = [id_ for id_, node in picture.nodes.items() if node.find("s:rect[@class='answer']", NAMESPACE) is not None]
    last = [edge.source for edge in graph.edges if edge.target == "__end__"]
    assert marked == last
    mermaid = "aggregator" if last == ["aggregator"] else f"step_{last[0]}"
    assert f"    class {mermaid} answer\n" in draw_mermaid(graph)


def test_steps_are_named_in_words() -> None:
    picture = Picture.of(hand_made([("my_first", "my_last")], proposer="my_first"))
    assert picture.texts == ["Layer 1", "my_first", "my last"]


def test_a_mixture_in_a_mixture_is_called_one() -> None:
    inner = ChatMoA(**{**RANKED, "aggregation": "synthesize"})
    outer = create_moa(**{**RANKED, "proposers": [inner, Proposer(inner, name="panel")], "aggregation": "synthesize"})
    picture = Picture.of(outer)
    assert {"mixture", "by openai:agg", "panel", "mixture by openai:agg"} <= set(picture.texts)
    assert "moa:moa" not in "".join(picture.texts)
    assert '("<b>mixture</b><br/>by openai:agg")' in draw_mermaid(outer)


def test_the_loop_of_self_moa_seq_runs_below_its_box() -> None:
    picture = Picture.of(create_moa(**{**RANKED, "aggregation": "sequential"}))
    loop, box = picture.edges["window to window (repeat)"], picture.box["window"]
    assert all(box.touches(end) for end in Picture.ends(loop))
    assert box.y + box.height < _height(loop, lowest=True) < box.y + box.height + 30
    assert "repeat" in picture.texts


def test_a_way_back_runs_below_the_layers_and_bears_its_label() -> None:
    graph = mixture([MODELS[:3]] * 2)
    graph.add_node("check", nothing)
    graph.add_edge("aggregator", "check")
    graph.add_conditional_edges("check", choose, {"done": END, "start over": "layer_1_proposer_2"})
    graph.add_conditional_edges("merge_2", choose, {"too few": "layer_2_proposer_3"})
    picture = Picture.of(graph)
    lowest = max(frame.y + frame.height for frame in picture.groups("group"))
    for name in ("check to layer_1_proposer_2 (start over)", "merge_2 to layer_2_proposer_3 (too few)"):
        assert _height(picture.edges[name], lowest=True) > lowest
    assert {"done", "start over", "too few"} <= set(picture.texts)
    assert len(picture.groups("group")) == 2


def _height(edge: object, *, lowest: bool = False) -> float:
    path = edge.find("s:path", NAMESPACE).attrib["d"]  # type: ignore[attr-defined]
    heights = [float(y) for y in re.findall(r"-?[\d.]+ (-?[\d.]+)", path)]
    return max(heights) if lowest else min(heights)


def strategy() -> Builder:
    """A graph with everything that strategies can add: nodes inside and outside of layers, labels, a bypass, a self-loop."""
    graph: Builder = StateGraph(State)
    for name, metadata in {
        "route": None,
        "layer_1_proposer_1": {"layer": 1, "proposer": 1, "name": "a", "model": "openai:a"},
        "layer_1_proposer_2": {"layer": 1, "proposer": 1, "name": "b", "model": "openai:b"},
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
    (frame,) = picture.groups("group")
    inside = {id_ for id_, box in picture.box.items() if box.inside(frame)}
    assert inside == {"layer_1_proposer_1", "layer_1_proposer_2", "rank_1", "merge_1", "check_1"}
    assert {"route", "fallback", "judge: openai:judge", "check 1", "rank 1: openai:ranker"} <= set(picture.names)
    assert {"easy", "hard", "harder", "agreed", "ask", "again", "write", "think"} <= set(picture.texts)
    assert "judge to judge (think)" in picture.edges


def test_several_ways_between_two_nodes_are_one_arrow() -> None:
    ends = [("p", "a"), ("p", "a"), ("p", "a"), ("a", "b"), ("a", "b")]
    picture = Picture.of(hand_made(ends, labels=["yes", "no", "yes", "sure", None], proposer="p"))
    assert set(picture.edges) == {"p to a (yes / no)", "a to b (sure)"}
    assert picture.edges["p to a (yes / no)"].find("s:path[@class='dashed']", NAMESPACE) is not None
    assert picture.edges["a to b (sure)"].find("s:path[@class='line']", NAMESPACE) is not None


def _embedding() -> Builder:
    outer: Builder = StateGraph(State)
    outer.add_node("moa", mixture([MODELS[:2]]).compile())
    outer.add_edge(START, "moa")
    outer.add_edge("moa", END)
    return outer


@pytest.mark.parametrize(
    "graph",
    [
        _embedding(),
        _embedding().compile().get_graph(xray=True),
        hand_made([("a", "b")], metadata={"a": {"layer": 1}, "b": {"proposer": 1, "name": "p"}}),
    ],
    ids=["embedded", "opened", "half"],
)
def test_a_graph_that_is_no_mixtures_is_left_to_langgraph(graph: Builder | Graph) -> None:
    for draw in (draw_svg, draw_png):
        with pytest.raises(
            ValueError, match=r"^graph: this is not the graph of a mixture.* graph\.get_graph\(\)\.draw_mermaid\(\)$"
        ):
            draw(graph)


def test_whatever_has_the_graph_is_drawn_the_same() -> None:
    builder = mixture([MODELS[:2]])
    compiled = builder.compile()
    drawings = {draw_svg(builder), draw_svg(compiled), draw_svg(compiled.get_graph())}
    assert len(drawings) == 1


def test_the_same_graph_gives_the_same_text_in_every_process() -> None:
    code = (
        "from langchain_moa.drawing import draw_svg\n"
        "from tests.unit_tests.drawing.test_svg import strategy\n"
        "print(draw_svg(strategy()), end='')"
    )
    # Another hash seed, and so another iteration order of sets.
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-X", "utf8", "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == draw_svg(strategy())


def test_says_what_it_shows_to_those_who_cannot_see_it() -> None:
    picture = Picture.of(mixture([MODELS[:2]] * 2, early_exit=True, filters=["judge"]), title="My mixture")
    root = picture.root
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == "My mixture"
    assert "My mixture" in picture.texts
    description = root.find("s:desc", NAMESPACE)
    assert description is not None
    assert f"Layer 2: {MODELS[0]}, {MODELS[1]}, merge, filters: judge. " in (description.text or "")
    assert "merge_1 to aggregator (early exit)" in (description.text or "")


def test_two_drawings_on_one_page_share_no_ids() -> None:
    assert not [element for element in Picture.of(strategy(), title="x").root.iter() if "id" in element.attrib]


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


def _check(picture: Picture, edges: set[tuple[str, str]]) -> None:
    """Check that nothing overlaps or leaves the picture, and that each arrow exists and begins and ends at its boxes."""
    width, height = picture.size
    x, y = picture.offset
    canvas = Rectangle(-x, -y, width, height)
    boxes, frames = picture.box, picture.groups("group")
    assert all(box.inside(canvas) for box in [*boxes.values(), *frames])
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes.values(), 2))
    assert not any(one.overlaps(other) for one, other in itertools.combinations(frames, 2))
    for frame in frames:
        assert all(box.inside(frame) or not box.overlaps(frame) for box in boxes.values())
    assert all(0 <= px <= width and 0 <= py <= height for px, py in picture.points())
    drawn = set()
    for name, edge in picture.edges.items():
        source, _, rest = name.partition(" to ")
        targets = rest.partition(" (")[0].split(", ")
        drawn |= {(source, target) for target in targets}
        start, end = Picture.ends(edge)
        assert boxes[source].touches(start)
        if len(targets) == 1:
            assert boxes[targets[0]].touches(end)
        else:
            (frame,) = [frame for frame in frames if boxes[targets[0]].inside(frame)]
            assert frame.touches(end)
    assert drawn == edges


NAMES = st.sampled_from(
    ["__start__", "__end__", "a", "b", "c", "d", "e", "aggregator", "merge_1", "merge_2", "p1", "p2", "q1", "q2"]
)
METADATA: dict[str, dict[str, object]] = {
    "p1": {"layer": 1, "proposer": 1, "name": "p1", "model": "openai:x", "role": "sceptic"},
    "p2": {"layer": 1, "proposer": 1, "name": "p2", "model": "openai:y"},
    "merge_1": {"layer": 1, "filters": ["judge", "duplicates"], "stop_when": "agreement"},
    "q1": {"layer": 2, "proposer": 1, "name": "q", "model": "openai:x"},
    "q2": {"layer": 2, "proposer": 1, "name": "r" * 80},
    "merge_2": {"layer": 2},
    "c": {"layer": 1},
}
LABELS = st.sampled_from([None, "yes", "a rather long label of an edge, longer than there is room"])


@settings(max_examples=200)
@given(st.lists(st.tuples(NAMES, NAMES, LABELS), max_size=20))
def test_any_graph_with_a_proposer_is_drawn_whole_and_nothing_lies_on_anything(
    edges: list[tuple[str, str, str | None]],
) -> None:
    edges = [("__start__", "p1", None), *edges]
    graph = hand_made([(a, b) for a, b, _ in edges], labels=[label for _, _, label in edges], metadata=METADATA)
    picture = Picture.of(graph)
    assert set(picture.nodes) == set(graph.nodes)
    _check(picture, {(source, target) for source, target, _ in edges})


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=5), min_size=1, max_size=3),
    st.text(max_size=90),
    st.booleans(),
)
def test_whatever_the_names_the_picture_is_xml_and_whole(layers: list[list[str]], name: str, early_exit: bool) -> None:
    graph = mixture(layers, aggregator=name, early_exit=early_exit, role=name, filters=[name, "x"], stop_when=name)
    picture = Picture.of(graph, title=name)
    drawn = graph.compile().get_graph()
    assert set(picture.nodes) == set(drawn.nodes)
    _check(picture, {(edge.source, edge.target) for edge in drawn.edges})
