"""Users' functions as reference filters and stop conditions."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import ChatMoA, ClosedLayer, create_moa
from langchain_moa.data.errors import StrategyFailedError
from langchain_moa.strategies import Filtered
from tests.inquiries import turn

if TYPE_CHECKING:
    from tests.loopback import Loopback


class TestFilters:
    def test_they_are_applied_in_order_before_anyone_reads(self, loopback: Loopback, members: Any) -> None:
        seen: list[ClosedLayer] = []

        def note(layer: ClosedLayer) -> Any:
            seen.append(layer)
            return layer.references

        def second(layer: ClosedLayer) -> Any:
            return layer.references[1:]

        def marked(layer: ClosedLayer) -> Any:
            return [{**each, "text": f"<{each['text']}>"} for each in layer.references]

        runnable = RunnableLambda(marked)
        ChatMoA(**members, reference_filters=[note, second, runnable, note]).invoke("Hi")
        for asked in (loopback.calls("p1")[1], loopback.calls("p2")[1]):
            assert asked.system.endswith("Responses from models:\n1. <p2 in layer 1>")
        assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. <p2 in layer 2>")
        before, after, before_2, _ = seen
        assert before.texts == ["p1 in layer 1", "p2 in layer 1"]
        assert after.texts == ["<p2 in layer 1>"]
        assert [each["text"] for each in after.unfiltered] == before.texts
        assert (before.number, before.num_layers, before.previous, before.earlier) == (1, 2, [], [])
        assert [each["text"] for each in before_2.previous] == ["<p2 in layer 1>"]
        assert [each["text"] for each in before_2.earlier] == before.texts
        assert before.messages[-1].text == "Hi"

    def test_one_that_keeps_nothing_changes_nothing(self, loopback: Loopback, members: Any) -> None:
        ChatMoA(**members, num_layers=1, reference_filters=[lambda layer: []]).invoke("Hi")
        assert loopback.calls("agg")[0].system.endswith("1. p1 in layer 1\n2. p2 in layer 1")

    async def test_one_may_end_the_layers(self, members: Any) -> None:
        class Ending:
            may_stop = True

            def __call__(self, layer: ClosedLayer) -> Filtered:
                return Filtered(layer.references[:1], "one is enough")

        moa = ChatMoA(**members, num_layers=3, reference_filters=[Ending()])
        for answer in (moa.invoke("Hi"), await moa.ainvoke("Hi")):
            assert answer.response_metadata["moa"]["stopped"] == "one is enough"
            assert answer.response_metadata["moa"]["calls"] == 3
        assert (
            "stopped"
            not in ChatMoA(**members, num_layers=1, reference_filters=[Ending()]).invoke("Hi").response_metadata["moa"]
        )

    async def test_async(self, loopback: Loopback, members: Any) -> None:
        async def second(layer: ClosedLayer) -> Any:
            return layer.references[1:]

        moa = ChatMoA(**members, num_layers=1, reference_filters=[second, lambda layer: layer.references])
        await moa.ainvoke("Hi")
        assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. p2 in layer 1")

    @pytest.mark.parametrize(
        ("strategy", "said"),
        [
            (lambda layer: "p1", "TypeError: it returned str; return a list of references"),
            (lambda layer: None, "TypeError: it returned NoneType; return a list of references"),
            (lambda layer: ["p1"], "TypeError: it returned list; return a list of references"),
            (lambda layer: [{"text": "p1"}], "TypeError: it returned list; return a list of references"),
            (lambda layer: [{**layer.references[0], "text": None}], "TypeError: it returned list; return a list of references"),
            (lambda layer: 1 / 0, "ZeroDivisionError: division by zero"),
            (lambda layer: Filtered(layer.references, "enough"), "give the filter an attribute `may_stop = True`"),
        ],
        ids=["text", "none", "texts", "half", "no text", "raises", "stops"],
    )
    async def test_a_broken_one_is_an_error_with_the_references(self, members: Any, strategy: Any, said: str) -> None:
        moa = ChatMoA(**members, reference_filters=[strategy])
        with pytest.raises(StrategyFailedError, match=said) as caught:
            moa.invoke("Hi")
        assert "the reference filter '<lambda>' failed after layer 1" in str(caught.value)
        assert len(caught.value.references) == 2
        with pytest.raises(StrategyFailedError, match=said):
            await moa.ainvoke("Hi")


class TestStopping:
    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            (True, "enough"),
            ("all is said", "all is said"),
            (re.match("a", "a"), "enough"),
            (7, "enough"),
            (False, None),
            (None, None),
            ("", None),
            (0, None),
        ],
    )
    async def test_the_edge_is_taken_and_told(self, loopback: Loopback, members: Any, result: Any, reason: str | None) -> None:
        def enough(layer: ClosedLayer) -> Any:
            return result

        graph = create_moa(**members, num_layers=3, stop_when=enough).compile()
        states = [graph.invoke(turn("Hi")), await graph.ainvoke(turn("Hi"))]
        for state in states:
            moa = state["messages"][-1].response_metadata["moa"]
            assert state["stopped"] == reason
            assert json.dumps(state["stopped"]) == json.dumps(reason), "it is plain data"
            assert moa.get("stopped") == reason
            assert moa["calls"] == (3 if reason else 7)
            assert len(moa["layers"]) == (1 if reason else 3)
        assert len(loopback.calls("p1")) == (2 if reason else 6)

    def test_it_is_asked_after_every_layer_but_the_last(self, members: Any) -> None:
        asked: list[int] = []

        def never(layer: ClosedLayer) -> None:
            asked.append(layer.number)

        ChatMoA(**members, num_layers=3, stop_when=never).invoke("Hi")
        assert asked == [1, 2]
        assert (
            "stopped"
            not in ChatMoA(**members, num_layers=1, stop_when=lambda layer: True).invoke("Hi").response_metadata["moa"]
        )

    def test_the_stream_tells(self, members: Any) -> None:
        graph = create_moa(**members, num_layers=2, stop_when=lambda layer: "enough").compile()
        events = [
            event
            for event in graph.stream(turn("Hi"), stream_mode="custom")
            if isinstance(event, dict) and event["moa"] == "merged"
        ]
        assert [(event["layer"], event["stopped"]) for event in events] == [(1, "enough")]

    def test_a_turn_that_stops_and_one_that_does_not(self, members: Any) -> None:
        def short(layer: ClosedLayer) -> bool:
            return layer.messages[-1].text == "Hi"

        graph = create_moa(**members, num_layers=2, stop_when=short).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        calls = [
            graph.invoke(turn(text), config)["messages"][-1].response_metadata["moa"]["calls"] for text in ("Hi", "Why?", "Hi")
        ]
        assert calls == [3, 5, 3]
        assert graph.get_state(config).values["stopped"] == "short"

    def test_a_broken_one_is_an_error_with_the_references(self, members: Any) -> None:
        with pytest.raises(StrategyFailedError, match="the stop condition '<lambda>' failed after layer 1") as caught:
            ChatMoA(**members, stop_when=lambda layer: 1 / 0).invoke("Hi")
        assert len(caught.value.references) == 2
