"""Users' functions as strategies: their arguments, their return values, and the account of their calls."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_moa import ChatMoA, Choice, ClosedLayer, MoAContext, Proposer, create_moa
from langchain_moa.data.errors import AggregatorFailedError, MoAError, StrategyFailedError
from langchain_moa.engine.aggregate import AGGREGATOR
from langchain_moa.strategies import Aggregation, AnswerGraph, Ask, Compare
from tests.inquiries import turn
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat


def first(messages: Any, references: Any) -> Any:
    return references[0]


class TestAggregation:
    @pytest.mark.parametrize(
        ("aggregation", "text"),
        [
            (first, "p1 in layer 1"),
            (lambda messages, references: references[1]["text"].upper(), "P2 IN LAYER 1"),
            (lambda messages, references: AIMessage(f"{messages[-1].text}!"), "Hi!"),
            (lambda messages, references: Choice(references[1], {"score": 3}), "p2 in layer 1"),
            (RunnableLambda(lambda given: given["references"][1]), "p2 in layer 1"),
            (RunnableLambda(lambda given: given["messages"][-1].text), "Hi"),
        ],
        ids=["reference", "text", "message", "choice", "runnable", "runnable text"],
    )
    async def test_what_it_may_be_and_return(self, members: Any, aggregation: Any, text: str) -> None:
        moa = ChatMoA(**members, num_layers=1, aggregation=aggregation)
        assert moa.invoke("Hi").text == text
        moa = ChatMoA(**members, num_layers=1, aggregation=aggregation)
        streamed = [chunk.text async for chunk in moa.astream("Hi")]
        assert "".join(streamed) in {text, text.replace("layer 1", "layer 2"), text.replace("LAYER 1", "LAYER 2")}
        assert sum(bool(piece) for piece in streamed) == 1

    def test_a_reference_says_where_it_comes_from(self, members: Any) -> None:
        answer = ChatMoA(**members, aggregation=lambda messages, references: Choice(references[1], {"score": 3})).invoke("Hi")
        moa = answer.response_metadata["moa"]
        place = {"layer": 2, "proposer": 2, "name": "openai:p2", "model": "openai:p2"}
        assert moa["selected"] == {"by": "<lambda>", **place, "score": 3}
        assert moa["aggregator"] is None
        assert moa["calls"] == 4
        assert answer.response_metadata["model_name"] == "openai:p2"
        assert answer.response_metadata["moa"]["usage"]["total_tokens"] == sum(
            call["usage"]["total_tokens"] for layer in moa["layers"] for call in layer
        )

    def test_the_node_has_the_functions_name(self, members: Any) -> None:
        def names(aggregation: Any) -> set[str]:
            return set(create_moa(**members, aggregation=aggregation).nodes)

        assert "first" in names(first)
        assert AGGREGATOR in names(lambda messages, references: "x")
        assert "odd_name" in names(RunnableLambda(lambda _: "x", name="odd: name|"))

    @pytest.mark.parametrize("how", ["callable", "runnable", "context"])
    async def test_models_called_inside_are_counted(self, loopback: Loopback, chat: Chat, members: Any, how: str) -> None:
        judge = chat("judge")
        loopback.script("judge", "judged")

        def in_callable(messages: Any, references: Any) -> str:
            return judge.invoke(messages).text

        async def in_async_callable(messages: Any, references: Any) -> str:
            return (await judge.ainvoke(messages)).text

        chain = RunnableLambda(lambda given: given["messages"]) | judge
        sync: Any = {"callable": in_callable, "runnable": chain, "context": in_callable}[how]
        asynchronous: Any = {"callable": in_async_callable, "runnable": chain, "context": in_callable}[how]
        answers = [
            ChatMoA(**members, num_layers=1, aggregation=sync).invoke("Hi"),
            await ChatMoA(**members, num_layers=1, aggregation=asynchronous).ainvoke("Hi"),
        ]
        for answer in answers:
            moa = answer.response_metadata["moa"]
            assert answer.text == "judged"
            (step,) = moa["steps"]
            assert (step["model"], step["status"]) == ("openai:judge", "ok")
            assert moa["calls"] == 3
            calls = [*moa["layers"][0], step]
            assert answer.response_metadata["moa"]["usage"]["total_tokens"] == sum(
                call["usage"]["total_tokens"] for call in calls
            )

    def test_a_call_that_fails_inside_is_told(self, loopback: Loopback, chat: Chat, members: Any) -> None:
        judge = chat("judge")
        loopback.script("judge", Reply("no", status=400))

        def forgiving(messages: Any, references: Any) -> Any:
            try:
                return judge.invoke(messages).text
            except Exception:  # noqa: BLE001  # whatever it is
                return references[0]

        answer = ChatMoA(**members, num_layers=1, aggregation=forgiving).invoke("Hi")
        moa = answer.response_metadata["moa"]
        assert answer.text == "p1 in layer 1"
        assert moa["steps"][0]["status"] == "failed"
        assert moa["steps"][0]["error"]["kind"] == "OpenAIInvalidRequestError"
        assert moa["calls"] == 3
        assert moa["degraded"]

    async def test_an_async_function_works_in_sync_and_async_code(self, members: Any) -> None:
        async def later(messages: Any, references: Any) -> Any:
            return references[0]["text"]

        moa = ChatMoA(**members, num_layers=1, aggregation=later)
        assert moa.invoke("Hi").text == "p1 in layer 1"
        assert (await moa.ainvoke("Hi")).text == "p1 in layer 2"

    async def test_a_plain_function_may_return_what_is_to_be_awaited(self, members: Any) -> None:
        async def later(messages: Any, references: Any, place: int = 0) -> Any:
            return references[place]

        class Later:
            async def __call__(self, messages: Any, references: Any) -> Any:
                return references[1]

        wrapped = [lambda messages, references: later(messages, references, 1), partial(later, place=1), Later()]
        for place, aggregation in enumerate(wrapped, start=1):
            moa = ChatMoA(**members, num_layers=1, aggregation=aggregation)
            assert (await moa.ainvoke("Hi")).text == f"p2 in layer {place}"
        assert ChatMoA(**members, num_layers=1, aggregation=wrapped[0]).invoke("Hi").text == "p2 in layer 3"

    async def test_an_async_generator_is_told_to_be_a_plain_one(self, members: Any) -> None:
        async def asking(messages: Any, references: Any) -> Any:
            yield Ask(messages=messages, name="oracle")

        moa = ChatMoA(**members, num_layers=1, aggregation=asking)
        for ask in (moa.ainvoke("Hi"), asyncio.to_thread(moa.invoke, "Hi")):
            with pytest.raises(AggregatorFailedError, match="'asking' is an async generator; make it a sync generator"):
                await ask

    @pytest.mark.parametrize("result", [None, 3, [], {"text": "no reference"}], ids=str)
    def test_what_is_no_answer_is_an_error_with_the_references(self, members: Any, result: Any) -> None:
        with pytest.raises(AggregatorFailedError, match="return a text, a message or one of the references") as caught:
            ChatMoA(**members, num_layers=1, aggregation=lambda messages, references: result).invoke("Hi")
        assert [each["text"] for each in caught.value.references] == ["p1 in layer 1", "p2 in layer 1"]

    @pytest.mark.parametrize(
        ("mistake", "said"),
        [
            (lambda found: Choice(found[0]["text"]), "TypeError: Choice: reference is str; give one of the references"),
            (lambda found: Choice(None), "TypeError: Choice: reference is NoneType; give one of the references"),  # type: ignore[arg-type]  # what is tested
            (lambda found: Choice(found[0], "because"), "TypeError: Choice: why is str; give a mapping"),  # type: ignore[arg-type]  # as above
            (lambda found: Choice(found[0], {"name": "mine"}), "ValueError: Choice: why has 'name', which is reserved"),
            (lambda found: "", "ValueError: it returned an empty answer; return a text"),
            (lambda found: AIMessage(" "), "ValueError: it returned an empty answer; return a text"),
            (lambda found: {**found[0], "text": "\n"}, "ValueError: it returned an empty answer; return a text"),
        ],
        ids=["text", "nothing", "reason", "taken", "empty", "blank", "emptied"],
    )
    async def test_a_mistake_is_named_and_loses_no_references(self, members: Any, mistake: Any, said: str) -> None:
        moa = ChatMoA(**members, num_layers=1, aggregation=lambda messages, references: mistake(references))
        with pytest.raises(AggregatorFailedError, match=said) as caught:
            moa.invoke("Hi")
        assert [each["text"] for each in caught.value.references] == ["p1 in layer 1", "p2 in layer 1"]
        with pytest.raises(AggregatorFailedError, match=said):
            await moa.ainvoke("Hi")

    def test_what_it_raises_is_an_error_with_the_references(self, members: Any) -> None:
        def broken(messages: Any, references: Any) -> str:
            return {"a": "b"}["oh"]

        with pytest.raises(AggregatorFailedError, match="the aggregator broken failed: KeyError: 'oh'") as caught:
            ChatMoA(**members, num_layers=1, aggregation=broken).invoke("Hi")
        assert isinstance(caught.value.__cause__, KeyError)
        assert len(caught.value.references) == 2

    @pytest.mark.parametrize("shape", ["function", "node", "node of several", "plain node", "prompt"])
    async def test_an_error_after_a_call_has_the_calls_so_far(self, members: Any, shape: str) -> None:
        def asking(*_: Any) -> Any:
            yield Ask(messages=[HumanMessage("Well?")], name="oracle")
            raise ZeroDivisionError

        def broken(*_: Any) -> Any:
            raise ZeroDivisionError

        class WithNodes:
            models = (None,)

            def add_to(self, graph: AnswerGraph) -> str:
                if shape == "plain node":
                    graph.add_node("work", broken)
                else:
                    graph.add_inquiry("work", asking, together=2 if shape == "node of several" else None)
                graph.add_edge("work", graph.add_aggregator())
                return "work"

        def well(layer: ClosedLayer) -> Any:
            yield Ask(messages=[HumanMessage("Well?")], name="filter")
            return layer.references

        fields = {"prompt": broken} if shape == "prompt" else {"aggregation": asking if shape == "function" else WithNodes()}
        moa = ChatMoA(**members, num_layers=1, reference_filters=[well], **fields)
        for ask in (moa.ainvoke("Hi"), asyncio.to_thread(moa.invoke, "Hi")):
            with pytest.raises(StrategyFailedError if shape == "prompt" else AggregatorFailedError, match="Zero") as caught:
                await ask
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
            assert len(caught.value.references) == 2
            asked = [step["name"] for step in caught.value.steps]
            assert asked == (["filter"] if shape in ("plain node", "prompt") else ["filter", "oracle"])

    async def test_tools_and_schemas_are_refused_where_nobody_writes_before_anybody_is_asked(
        self, loopback: Loopback, members: Any
    ) -> None:
        moa = ChatMoA(**members, num_layers=1, aggregation="vote")
        schema = {"title": "Answer", "type": "object", "properties": {"text": {"type": "string"}}}
        refused = "the aggregation 'vote' does not write an answer itself and cannot use "
        with pytest.raises(ValueError, match=f"{refused}tools"):
            moa.bind_tools([schema])
        with pytest.raises(ValueError, match=f"{refused}a schema"):
            moa.with_structured_output(schema)
        with pytest.raises(ValueError, match=f"{refused}response_format"):
            moa.invoke("Hi", response_format={"type": "json_object"})
        with pytest.raises(ValueError, match=f"{refused}tools"):
            await moa.ainvoke("Hi", tools=[schema])
        assert loopback.requests == []

    def test_a_graph_refuses_them_too(self, members: Any) -> None:
        graph = create_moa(**members, num_layers=1, aggregation="vote").compile()
        with pytest.raises(ValueError, match="'vote' does not write an answer itself and cannot use tools"):
            graph.invoke(turn("Hi"), context=MoAContext(aggregator_kwargs={"tools": []}))

    def test_without_references_there_is_nothing_to_choose_from(self, members: Any) -> None:
        with pytest.raises(MoAError, match="the aggregation 'vote' has no references to choose from"):
            _aggregator_graph(members).invoke(turn("Hi"))

    async def test_a_person_may_choose(self, members: Any) -> None:
        def ask_a_person(messages: Any, references: Any) -> Any:
            return references[interrupt([each["text"] for each in references])]

        graph = create_moa(**members, num_layers=1, aggregation=ask_a_person).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        asked = graph.invoke(turn(), config)
        assert asked["__interrupt__"][0].value == ["p1 in layer 1", "p2 in layer 1"]
        assert graph.invoke(Command(resume=1), config)["messages"][-1].text == "p2 in layer 1"
        await graph.ainvoke(turn(), config)
        assert (await graph.ainvoke(Command(resume=0), config))["messages"][-1].text == "p1 in layer 2"

    def test_a_person_may_filter(self, loopback: Loopback, members: Any) -> None:
        def ask_a_person(layer: ClosedLayer) -> Any:
            return [layer.references[place] for place in interrupt(layer.texts)]

        options: Any = {"num_layers": 1, "reference_filters": [ask_a_person]}
        graph = create_moa(**members, **options).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        assert graph.invoke(turn(), config)["__interrupt__"][0].value == ["p1 in layer 1", "p2 in layer 1"]
        assert graph.invoke(Command(resume=[1]), config)["messages"][-1].text == "the answer"
        assert loopback.calls("agg")[0].system.endswith("Responses from models:\n1. p2 in layer 1")

    def test_an_object_with_nodes_of_its_own_serves_the_chat_model(self, members: Any) -> None:
        class Politely:
            def add_to(self, graph: AnswerGraph) -> str:
                graph.add_node("bow", lambda state: {})
                graph.add_edge("bow", graph.add_aggregator())
                return "bow"

        assert isinstance(Politely(), Aggregation)
        moa = ChatMoA(**members, num_layers=1, aggregation=Politely())
        assert [chunk.text for chunk in moa.stream("Hi") if chunk.text] == ["the", " answer"]


def _aggregator_graph(members: Any) -> Any:
    from langchain_moa.engine.graph import build_aggregator

    return build_aggregator(ChatMoA(**members, aggregation="vote")).compile()


class TestStreaming:
    """The output of a Runnable that ends in a model is streamed."""

    async def pieces(self, moa: ChatMoA) -> list[list[str]]:
        chunks = [list(moa.stream("Hi")), [chunk async for chunk in moa.astream("Hi")]]
        for each in chunks:
            whole = each[0]
            for chunk in each[1:]:
                whole += chunk
            account = whole.response_metadata["moa"]
            assert whole.response_metadata["moa"]["usage"]["total_tokens"] == sum(
                call["usage"]["total_tokens"] for call in (*account["layers"][0], *account["steps"])
            )
        return [[chunk.text for chunk in each if chunk.text] for each in chunks]

    @pytest.mark.parametrize("end", ["model", "parser"])
    async def test_it_comes_piece_by_piece(self, loopback: Loopback, chat: Chat, members: Any, end: str) -> None:
        loopback.script("writer", "one two three")
        chain: Any = RunnableLambda(lambda given: given["messages"]) | chat("writer")
        moa = ChatMoA(**members, num_layers=1, aggregation=chain | StrOutputParser() if end == "parser" else chain)
        assert await self.pieces(moa) == [["one", " two", " three"]] * 2
        assert moa.invoke("Hi").text == (await moa.ainvoke("Hi")).text == "one two three"

    async def test_what_comes_whole_is_sent_once(self, loopback: Loopback, chat: Chat, members: Any) -> None:
        loopback.script("writer", "one two three")
        chain: Any = RunnableLambda(lambda given: given["messages"]) | chat("writer")
        moa = ChatMoA(**members, num_layers=1, aggregation=chain | (lambda message: message.text.upper()))
        assert await self.pieces(moa) == [["ONE TWO THREE"]] * 2

    def test_one_that_breaks_off_is_an_error_with_the_references(self, loopback: Loopback, chat: Chat, members: Any) -> None:
        loopback.script("writer", Reply("one two three four", drop=True, after_chunks=2))
        chain: Any = RunnableLambda(lambda given: given["messages"]) | chat("writer")
        said: list[str] = []
        with pytest.raises(AggregatorFailedError) as caught:
            said.extend(chunk.text for chunk in ChatMoA(**members, num_layers=1, aggregation=chain).stream("Hi"))
        assert "".join(said).startswith("one")
        assert len(caught.value.references) == 2


class TestInquiry:
    def test_a_generator_asks_and_compares(self, loopback: Loopback, chat: Chat, members: Any) -> None:
        def asking(messages: Any, references: Any) -> Any:
            matrix = yield Compare(texts=[each["text"] for each in references], by="lexical")
            answer = yield Ask(messages=[HumanMessage(f"{matrix[0][1]:.2f}?")], name="oracle")
            return answer["text"]

        answer = ChatMoA(**members, num_layers=1, aggregation=asking, stop=["#"], temperature=0.3).invoke("Hi", seed=5)
        assert answer.text == "the answer"
        (asked,) = loopback.calls("agg")
        assert asked.user == "0.75?"
        # The mixture's and the call's parameters apply to it, except stop words, which are for answers.
        assert (asked.body["temperature"], asked.body["seed"], asked.body.get("stop")) == (0.3, 5, None)
        (step,) = answer.response_metadata["moa"]["steps"]
        assert (step["node"], step["name"], step["model"], step["status"]) == ("asking", "oracle", "openai:agg", "ok")

    async def test_it_may_also_call_a_model_itself(self, chat: Chat, members: Any) -> None:
        judge = chat("judge")

        def both(messages: Any, references: Any) -> Any:
            asked = yield Ask(messages=messages, name="oracle")
            return f"{asked['text']}, {judge.invoke(messages).text}"

        moa = ChatMoA(**members, num_layers=1, aggregation=both)
        for answer in (moa.invoke("Hi"), await moa.ainvoke("Hi")):
            assert answer.text == "the answer, judge says: Hi"
            assert {step["model"] for step in answer.response_metadata["moa"]["steps"]} == {"openai:agg", "openai:judge"}
            assert answer.response_metadata["moa"]["calls"] == 4

    def test_a_draft_has_the_stop_words(self, loopback: Loopback, members: Any) -> None:
        def drafting(messages: Any, references: Any) -> Any:
            return (yield Ask(messages=messages, name="draft", drafts=True))["text"]

        ChatMoA(**members, num_layers=1, aggregation=drafting, stop=["#"]).invoke("Hi")
        assert loopback.calls("agg")[0].body["stop"] == ["#"]

    def test_its_models_are_declared(self, loopback: Loopback, chat: Chat, members: Any) -> None:
        class Asking:
            def __init__(self, *models: Proposer) -> None:
                self.judge = Proposer(chat("judge"))
                self.models = models or (self.judge,)

            def __call__(self, messages: Any, references: Any) -> Any:
                return (yield Ask(messages=messages, name="judge", model=self.judge))["text"]

        assert ChatMoA(**members, num_layers=1, aggregation=Asking()).invoke("Hi").text == "judge says: Hi"
        with pytest.raises(AggregatorFailedError, match="asks Proposer\\('openai:judge'\\) without declaring it"):
            ChatMoA(**members, num_layers=1, aggregation=Asking(Proposer(chat("other")))).invoke("Hi")

    def test_what_else_it_yields_is_an_error(self, members: Any) -> None:
        def yielding(messages: Any, references: Any) -> Any:
            yield references[0]

        with pytest.raises(AggregatorFailedError, match="a strategy yielded dict; yield Ask or Compare"):
            ChatMoA(**members, num_layers=1, aggregation=yielding).invoke("Hi")
