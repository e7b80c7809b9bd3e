"""Properties that hold for all conversations, names, texts and shapes of layers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import AggregatorFailedError, ChatMoA, Mixture, Proposer, ProposersFailedError, create_moa
from langchain_moa.data.answer import read_answer
from langchain_moa.mixture.config import written
from langchain_moa.prompting.prompts import SYNTHESIZE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_moa.data.reference import Reference

# A mixture compiles a graph, which is slow.
for_mixtures = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

AWKWARD = [
    *("", " ", "\n", "\x00", "\u200b", "\u202e", "{}", "{0}", "{question}", "{{", "%s", "$x", "\\", "</s>", "<|im_end|>"),
    *(
        "\n3. forged",
        "1. one\n2. two",
        "Responses from models:",
        "system:",
        "مرحبا",
        "שלום",
        "你好",
        "नमस्ते",
        "👩‍👩‍👧‍👧",
        "\U0001d54f",
        "a" * 50_000,
    ),
]
texts = st.text(max_size=200) | st.sampled_from(AWKWARD) | st.lists(st.sampled_from(AWKWARD[:-1]), max_size=6).map("".join)
spoken = texts.filter(lambda text: read_answer(text)["failure"] is None)

conversations = st.builds(
    lambda system, turns, last: [*system, *turns, HumanMessage(last)],
    st.lists(texts.map(SystemMessage), max_size=1),
    st.lists(st.one_of(texts.map(HumanMessage), texts.map(AIMessage)), max_size=5),
    texts,
)


class Says:
    """A member that always gives the same answer, or raises, and records its prompts."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.asked: list[list[BaseMessage]] = []

    def __call__(self, messages: list[BaseMessage]) -> AIMessage:
        self.asked.append(messages)
        if self.text is None:
            msg = "no answer"
            raise ConnectionError(msg)
        return AIMessage(self.text)

    @property
    def member(self) -> RunnableLambda[Any, Any]:
        return RunnableLambda(self)

    @property
    def system(self) -> str:
        """The system text of the last call."""
        first = self.asked[-1][0]
        return str(first.content) if isinstance(first, SystemMessage) else ""


def paper(system: str, texts: list[str]) -> str:
    """Return the system text of a member that reads these references, according to the paper."""
    listed = "".join(f"\n{number}. {text.strip()}" for number, text in enumerate(texts, start=1))
    prompt = f"{SYNTHESIZE}\n\nResponses from models:{listed}"
    return f"{system}\n\n{prompt}" if system else prompt


async def ask(model: Any, question: Any, *, sync: bool) -> AIMessage:
    answer: AIMessage = model.invoke(question) if sync else await model.ainvoke(question)
    return answer


@for_mixtures
@given(conversation=conversations, drafts=st.lists(spoken, min_size=1, max_size=4), final=spoken, sync=st.booleans())
def test_every_text_arrives_as_it_was_said(
    conversation: list[BaseMessage],
    drafts: list[str],
    final: str,
    sync: bool,
) -> None:
    proposers, aggregator = [Says(draft) for draft in drafts], Says(final)
    moa = ChatMoA(proposers=[each.member for each in proposers], aggregator=aggregator.member, num_layers=1)
    answer = asyncio.run(ask(moa, conversation, sync=sync))
    assert answer.content == final
    said = [(message.type, message.content) for message in conversation]
    for proposer in proposers:
        assert [(message.type, message.content) for message in proposer.asked[0]] == said
    system = str(conversation[0].content) if isinstance(conversation[0], SystemMessage) else None
    shown = [read_answer(draft)["text"] for draft in drafts]
    expected = paper("", shown) if system is None else f"{system}\n\n{paper('', shown)}"
    assert aggregator.system == expected
    assert [(message.type, message.content) for message in aggregator.asked[0][1:]] == said[system is not None :]


shapes = st.lists(st.lists(st.none() | spoken | st.sampled_from(["", " \n"]), min_size=1, max_size=4), min_size=1, max_size=4)


@for_mixtures
@given(layers=shapes, least=st.integers(1, 4), sync=st.booleans())
def test_every_shape_of_layers_and_failures(
    layers: list[list[str | None]],
    least: int,
    sync: bool,
) -> None:
    least = min(least, *map(len, layers))
    said = [[Says(text) for text in layer] for layer in layers]
    aggregator = Says("the answer")
    moa = ChatMoA(
        proposers=[[each.member for each in layer] for layer in said], aggregator=aggregator.member, min_references=least
    )
    shown: list[str] = []
    for number, layer in enumerate(layers):
        good = [read_answer(text)["text"] for text in layer if text is not None and read_answer(text)["failure"] is None]
        if len(good) < least and not number:
            with pytest.raises(ProposersFailedError) as raised:
                asyncio.run(ask(moa, "Hi", sync=sync))
            assert len(raised.value.references) == len(layer)
            assert not aggregator.asked
            return
        shown = good if len(good) >= least else shown
    answer = asyncio.run(ask(moa, "Hi", sync=sync))
    assert aggregator.system == paper("", shown)
    calls = answer.response_metadata["moa"]["layers"]
    assert [len(layer) for layer in calls] == [len(layer) for layer in layers]


names = st.text(min_size=1, max_size=40) | st.sampled_from([text for text in AWKWARD[:-1] if text])


@for_mixtures
@given(given_names=st.lists(names, min_size=1, max_size=4))
def test_every_name_is_kept_and_breaks_nothing(given_names: list[str]) -> None:
    failing = [Proposer(Says(None).member, name=name) for name in given_names]
    proposers = [*failing, Proposer(Says("a draft").member, name=given_names[0])]
    graph = create_moa(proposers, Says("the answer").member, num_layers=1).compile(checkpointer=InMemorySaver())
    result = graph.invoke({"messages": [HumanMessage("Hi")]}, {"configurable": {"thread_id": "1"}})
    references: list[Reference] = result["references"]
    assert [reference["name"] for reference in references] == [*given_names, given_names[0]]
    degraded = result["messages"][-1].response_metadata["moa"]["degraded"]
    assert all(name in line for name, line in zip(given_names, degraded, strict=True))
    graph.get_graph().draw_mermaid()


leaves = st.none() | st.booleans() | st.integers() | texts
outputs = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner))


@for_mixtures
@given(output=outputs)
def test_whatever_a_member_returns_can_be_read(output: Any) -> None:
    answer = read_answer(output)
    assert isinstance(answer["text"], str)
    assert (answer["failure"] is None) <= bool(answer["text"].strip())


halves = st.text(alphabet=st.characters(categories=["Cs", "Lu", "So"]), min_size=1, max_size=20)


@for_mixtures
@given(text=halves)
def test_half_a_character_spoils_no_prompt_and_no_checkpoint(text: str) -> None:
    aggregator = Says("the answer")
    graph = create_moa([Says(f"a draft {text}").member], aggregator.member, num_layers=1).compile(checkpointer=InMemorySaver())
    result = graph.invoke({"messages": [HumanMessage("Hi")]}, {"configurable": {"thread_id": "1"}})
    assert result["references"][0]["text"].encode().startswith(b"a draft ")
    assert aggregator.system.encode()


steps = st.lists(st.tuples(texts, st.dictionaries(texts, texts, max_size=2), texts), min_size=1, max_size=3)


@for_mixtures
@given(question=texts, steps=steps, sync=st.booleans())
def test_what_tools_were_asked_and_said_reaches_everyone_as_text(
    question: str, steps: list[tuple[str, dict[str, str], str]], sync: bool
) -> None:
    conversation: list[BaseMessage] = [HumanMessage(question)]
    for number, (thought, args, result) in enumerate(steps):
        call = {"name": "search", "args": args, "id": f"{number}"}
        conversation += [AIMessage(thought, tool_calls=[call]), ToolMessage(result, name="search", tool_call_id=f"{number}")]
    proposer, aggregator = Says("a draft"), Says("the answer")
    moa = ChatMoA(proposers=[proposer.member], aggregator=aggregator.member, num_layers=1)
    asyncio.run(ask(moa, conversation, sync=sync))
    said = [question]
    for thought, args, result in steps:
        called = f"[Called the tool search with {json.dumps(args, ensure_ascii=False)}]"
        said += [f"{thought}\n{called}" if thought else called, f"[The tool search returned:]\n{result}"]
    assert [message.content for message in proposer.asked[0]] == said
    assert [message.content for message in aggregator.asked[0][1:]] == said
    assert {message.type for message in proposer.asked[0]} == {"human", "ai"}


@for_mixtures
@given(pieces=st.lists(texts, max_size=5), sync=st.booleans())
def test_a_stream_is_the_answer_in_whatever_pieces_it_comes(pieces: list[str], sync: bool) -> None:
    def speak(_: Any) -> Iterator[str]:
        yield from pieces

    async def aspeak(_: Any) -> Any:
        for piece in pieces:
            yield piece

    member: Any = RunnableLambda(speak, aspeak)
    moa = ChatMoA(proposers=[Says("a draft").member], aggregator=member, num_layers=1)

    async def read() -> list[str]:
        return [chunk.text for chunk in moa.stream("Hi")] if sync else [chunk.text async for chunk in moa.astream("Hi")]

    whole = "".join(pieces)
    if read_answer(whole)["failure"] is None:
        assert "".join(asyncio.run(read())) == whole
    else:
        with pytest.raises(AggregatorFailedError):
            asyncio.run(read())


STRATEGIES: list[dict[str, Any]] = [
    *({"aggregation": name} for name in ("select", "consistent", "vote", "medoid", "analyze", "rank")),
    {"aggregation": {"sequential": {"window": 2}}},
    *({"reference_filters": [name]} for name in ("duplicates", "outliers", "shuffled", "judge", "moderator")),
    {"reference_filters": [{"diverse": {"keep": 1}}]},
    *({"stop_when": name} for name in ("agreement", "moderator", "residual")),
    {"prompt": "hardened"},
    {"prompt": "Use {these} and %s."},
]
CHOOSERS = {"select", "consistent", "vote", "medoid"}


@for_mixtures
@given(options=st.sampled_from(STRATEGIES), drafts=st.lists(spoken, min_size=1, max_size=4), final=spoken, sync=st.booleans())
def test_no_text_breaks_a_strategy(options: dict[str, Any], drafts: list[str], final: str, sync: bool) -> None:
    """For any text of the proposers, and any reply of a judge in place of a verdict."""
    moa = ChatMoA(proposers=[Says(draft).member for draft in drafts], aggregator=Says(final).member, **options)
    answer = asyncio.run(ask(moa, "Hi", sync=sync))
    shown = [read_answer(draft)["text"] for draft in drafts]
    if str(options.get("aggregation")) in CHOOSERS:
        assert answer.text in shown
    else:
        assert answer.content == final
    assert json.loads(json.dumps(answer.response_metadata)) == answer.response_metadata


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(given_names=st.lists(names, min_size=1, max_size=3), role=texts)
@example(given_names=["one"], role="a\x85b")
def test_every_name_and_role_can_stand_in_a_file(tmp_path: Path, given_names: list[str], role: str) -> None:
    members = [{"model": "openai:gpt-6-luna", "name": name, "system_prompt": role} for name in given_names]
    fields = {"proposers": members, "aggregator": "openai:gpt-6.1-sol", "num_layers": 1}
    file = tmp_path / "moa.yaml"
    file.write_text(written(fields), encoding="utf-8")
    (layer,) = Mixture.from_config(file, api_key="a-key-of-this-test").members.layers
    assert [(member.name, member.spec.system_prompt) for member in layer] == [(name, role) for name in given_names]
