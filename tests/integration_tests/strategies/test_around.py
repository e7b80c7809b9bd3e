"""Everything around the aggregation: samples of one model, filters, stop conditions, agents as members, roles."""

from __future__ import annotations

import asyncio
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.store.memory import InMemoryStore

from langchain_moa import ChatMoA, Proposer, roles, write_roles
from langchain_moa.data.errors import MoAError
from langchain_moa.strategies.roles import awrite_roles
from tests.inquiries import label_of
from tests.loopback import Reply, ToolCall

if TYPE_CHECKING:
    from tests.loopback.fixtures import Chat
from tests.integration_tests.strategies.panel import QUESTION, TEXTS, Panel, every_way, total

WRITTEN = {"logician": "You are a logician.", "poet": "You are a poet."}


class TestSelfMoA:
    def test_samples_of_one_model_differ(self, panel: Panel, chat: Chat) -> None:
        moa = ChatMoA.self_moa(chat("agg"), samples=5)
        moa.invoke(QUESTION)
        *samples, last = panel.server.calls("agg")
        assert sorted((asked.body["temperature"], asked.body["seed"]) for asked in samples) == [
            *((0.5, 1), (0.6, 2), (0.7, 3), (0.8, 4), (0.9, 5)),
        ]
        assert "temperature" not in last.body
        assert "seed" not in last.body
        assert len({id(member.chat_model) for member in moa.members.layers[0]}) == 1
        assert [member.name for member in moa.members.layers[0]] == [f"sample {number}" for number in range(1, 6)]

    def test_a_model_string(self, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", panel.server.url)
        moa = ChatMoA.self_moa("openai:agg", samples=2, temperatures=(0.2, 0.4), seed=None, max_retries=0)
        moa.invoke(QUESTION)
        bodies = [asked.body for asked in panel.server.calls("agg")[:2]]
        assert sorted(body["temperature"] for body in bodies) == [0.2, 0.4]
        assert all("seed" not in body for body in bodies)
        assert pickle.loads(pickle.dumps(moa)).proposers == moa.proposers  # noqa: S301  # our own

    def test_a_reasoning_model_is_left_alone(self, panel: Panel, chat: Chat) -> None:
        ChatMoA.self_moa(chat("agg", profile={"temperature": False}), samples=2).invoke(QUESTION)
        assert all(not {"temperature", "seed"} & asked.body.keys() for asked in panel.server.calls("agg"))

    def test_what_is_said_of_the_temperature_holds(self, panel: Panel, chat: Chat) -> None:
        ChatMoA.self_moa(chat("agg"), samples=2, temperature=0.3).invoke(QUESTION)
        assert [asked.body["temperature"] for asked in panel.server.calls("agg")] == [0.3, 0.3, 0.3]

    def test_a_window_makes_it_sequential(self, panel: Panel, chat: Chat) -> None:
        ChatMoA.self_moa(chat("agg"), samples=5, window=3).invoke(QUESTION)
        assert len(panel.server.calls("agg")) == 5 + 1 + 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"samples": 0}, "samples: 0 is not a number of samples; give a whole number of at least 1"),
            ({"samples": "3"}, "samples: '3' is not a number of samples"),
            ({"samples": 2.5}, "samples: 2.5 is not a number of samples"),
            ({"temperatures": (0.9, 0.5)}, r"temperatures: \(0.9, 0.5\) is not a range; give the lowest and the highest"),
            ({"temperatures": (0.5,)}, "temperatures: .* is not a range"),
            ({"temperatures": 0.7}, "temperatures: 0.7 is not a range"),
            ({"temperatures": (0.1, 0.2, 0.3)}, "temperatures: .* is not a range"),
            ({"temperatures": "ab"}, "temperatures: 'ab' is not a range"),
            ({"window": 2, "aggregation": "vote"}, "window sets the aggregation to 'sequential'; give either"),
        ],
    )
    def test_wrong_arguments(self, chat: Chat, arguments: Any, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            ChatMoA.self_moa(chat("agg"), **arguments)


class TestBetweenLayers:
    async def test_the_moderator_keeps_and_ends_in_one_call(self, panel: Panel) -> None:
        def moderate(body: dict[str, Any]) -> str:
            asked = body["messages"][-1]["content"]
            if "Name the 2 responses" not in asked:
                return "written"
            return json.dumps({"keep": [label_of(asked, text) for text in TEXTS[1:]], "end": True})

        panel.server.script("agg", moderate)
        for answer in await every_way(panel.model(num_layers=3, reference_filters=["moderator"])):
            moa = answer.response_metadata["moa"]
            assert answer.text == "written"
            assert moa["stopped"] == "the moderator found that no further layer is needed"
            assert [(step["node"], step["name"]) for step in moa["steps"]] == [("merge_1", "moderator")]
            assert moa["calls"] == 5
        assert all(len(panel.server.calls(f"p{place}")) == 4 for place in (1, 2, 3))
        assert panel.server.calls("agg")[-1].system.endswith("Responses from models:\n1. The answer is 42\n2. so 42.0")

    async def test_agreement_saves_the_next_layer(self, panel: Panel) -> None:
        moa = panel.model(num_layers=2, stop_when={"agreement": {"threshold": 0.6}}, aggregation="vote", aggregator=None)
        for answer in await every_way(moa):
            assert answer.text == TEXTS[1]
            assert answer.response_metadata["moa"]["stopped"] == "2 of 3 answers of layer 1 agree: 42"
            assert answer.response_metadata["moa"]["calls"] == 3

    async def test_the_residual_stops_after_a_layer_without_change(self, panel: Panel) -> None:
        panel.server.script("judge", '{"changed": false}')
        condition = {"residual": {"model": panel.server.chat("judge")}}
        for answer in await every_way(panel.model(num_layers=4, stop_when=condition)):
            moa = answer.response_metadata["moa"]
            assert moa["stopped"] == "layer 2 changes nothing against layer 1"
            assert len(moa["layers"]) == 2
            assert [step["node"] for step in moa["steps"]] == ["merge_2"]

    async def test_an_answer_that_comes_and_goes_is_no_layer_without_change(self, panel: Panel, chat: Chat) -> None:
        for place in (1, 2, 3):
            panel.server.script(f"p{place}", ["A", "B", "A", "A", "A", "C"])

        def judge(body: dict[str, Any]) -> str:
            later, earlier = body["messages"][-1]["content"].split("The responses of the earlier round")
            return json.dumps({"changed": ("\nA\n" in later) != ("\nA\n" in earlier)})

        panel.server.script("judge", judge)
        condition = {"residual": {"model": chat("judge"), "layers": 2}}
        moa = panel.model(num_layers=6, stop_when=condition)
        account = moa.invoke(QUESTION).response_metadata["moa"]
        assert account["stopped"] == "the last 2 layers change nothing"
        assert len(account["layers"]) == 5
        assert [step["node"] for step in account["steps"]] == ["merge_2", "merge_3", "merge_4", "merge_5"]

    def test_the_judge_keeps_what_it_grades_well(self, panel: Panel) -> None:
        def judge(body: dict[str, Any]) -> str:
            asked = body["messages"][-1]["content"]
            if "Grade every response" not in asked:
                return "written"
            return json.dumps({label_of(asked, text): grade for text, grade in zip(TEXTS, (2, 9, 6), strict=True)})

        panel.server.script("agg", judge)
        panel.model(reference_filters=["judge"]).invoke(QUESTION)
        assert panel.server.calls("agg")[-1].system.endswith("Responses from models:\n1. The answer is 42\n2. so 42.0")


class TestAgents:
    async def test_only_an_agents_final_answer_becomes_a_reference(self, panel: Panel, chat: Chat) -> None:
        @tool
        def multiply(a: int, b: int) -> int:
            """Multiply two numbers."""
            return a * b

        calls = Reply("Let me see.", tool_calls=[ToolCall("multiply", {"a": 6, "b": 7})])
        panel.server.script("agent", [calls, "It is 42, by the tool."] * 2)
        agent = create_agent(chat("agent"), [multiply])
        moa = panel.model(proposers=[Proposer(agent, name="calculator"), chat("p1")])
        for answer in (moa.invoke(QUESTION), await moa.ainvoke(QUESTION)):
            assert answer.response_metadata["moa"]["usage"]["total_tokens"] == total(answer)
        assert len(panel.server.calls("agent")) == 4
        assert panel.server.calls("agent")[1].messages[-1]["content"] == "42"
        for asked in panel.server.calls("agg"):
            assert asked.system.endswith("Responses from models:\n1. It is 42, by the tool.\n2. It is 41.")
            assert asked.tools == []


class TestRoles:
    def test_one_model_with_several_roles(self, panel: Panel, chat: Chat) -> None:
        cast = roles(Proposer(chat("p1"), system_prompt="Be kind."), {"sceptic": "Doubt.", "teacher": "Explain."})
        panel.model(proposers=cast).invoke(QUESTION)
        systems = sorted(asked.system for asked in panel.server.calls("p1"))
        assert systems == ["Be brief.\n\nBe kind.\n\nDoubt.", "Be brief.\n\nBe kind.\n\nExplain."]
        assert [each.name for each in cast] == ["sceptic", "teacher"]
        assert [each.name for each in roles(chat("p1"), ["Doubt.", "Explain."])] == ["role 1", "role 2"]
        with pytest.raises(ValueError, match="there are no roles"):
            roles(chat("p1"), [])

    async def test_roles_are_written_once_for_a_task(self, panel: Panel, chat: Chat) -> None:
        written = WRITTEN
        panel.server.script("writer", ["no JSON", json.dumps(written)])
        assert write_roles(chat("writer"), "riddles", 2) == written
        assert await awrite_roles(chat("writer"), "riddles", 2) == written
        first, _ = panel.server.calls("writer")
        assert first.user.startswith("The task: riddles\n\nWrite 2 roles.")
        assert await awrite_roles(chat("writer"), "other riddles", 2) == written
        assert len(panel.server.calls("writer")) == 3

    async def test_what_cannot_be_read_is_an_error(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("writer", '{"poet": "You are a poet."}')
        with pytest.raises(MoAError, match="openai:writer wrote could not be parsed, twice"):
            write_roles(chat("writer"), "one too few", 2)
        with pytest.raises(MoAError, match="could not be parsed, twice"):
            await awrite_roles(chat("writer"), "one too few", 2)

    @pytest.mark.parametrize("descriptions", ["abc", 3, {"a": ""}, {"a": 3}, {"": "You are one."}, ["You are one.", " "], None])
    def test_what_are_no_roles(self, chat: Chat, descriptions: Any) -> None:
        with pytest.raises(ValueError, match="descriptions: "):
            roles(chat("p1"), descriptions)

    def test_what_is_done_with_them_is_not_remembered(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("writer", json.dumps(WRITTEN))
        write_roles(chat("writer"), "poems", 2).clear()
        write_roles(chat("writer"), "poems", 2).clear()
        assert write_roles(chat("writer"), "poems", 2) == WRITTEN
        assert len(panel.server.requests) == 1

    async def test_several_at_once_write_once(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("writer", Reply(json.dumps(WRITTEN), delay=0.3))
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: write_roles(chat("writer"), "songs", 2), range(4)))
        found += await asyncio.gather(*(awrite_roles(chat("writer"), "odes", 2) for _ in range(4)))
        assert found == [WRITTEN] * 8
        assert [request.user.splitlines()[0] for request in panel.server.requests] == ["The task: songs", "The task: odes"]

    def test_after_one_that_failed_the_next_one_writes(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("writer", [Reply("no", status=400), json.dumps(WRITTEN)])
        with pytest.raises(MoAError, match=r"openai:writer failed to write roles: OpenAIInvalidRequestError: .*no") as caught:
            write_roles(chat("writer"), "hymns", 2)
        assert caught.value.__cause__ is not None
        assert write_roles(chat("writer"), "hymns", 2) == WRITTEN

    async def test_a_refusal_is_an_error(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("writer", Reply("", refusal="I will not"))
        with pytest.raises(MoAError, match="openai:writer failed to write roles: refusal: the model refused to answer"):
            await awrite_roles(chat("writer"), "psalms", 2)

    def test_the_writer_has_a_role_of_its_own(self, panel: Panel, chat: Chat) -> None:
        panel.server.script("writer", json.dumps(WRITTEN))
        write_roles(Proposer(chat("writer"), system_prompt="Be odd."), "limericks", 2)
        assert panel.server.calls("writer")[0].system.endswith("\n\nBe odd.")

    def test_a_function_is_known_by_its_name(self) -> None:
        asked: list[str] = []

        def writer(name: str) -> Proposer:
            def write(messages: Any) -> str:
                asked.append(name)
                return json.dumps(WRITTEN)

            return Proposer(RunnableLambda(write), name=name)

        store = InMemoryStore()
        for name in ("one", "one", "two"):
            assert write_roles(writer(name), "elegies", 2, store=store) == WRITTEN
        assert asked == ["one", "two"]
