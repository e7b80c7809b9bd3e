"""Every member gets a conversation that its provider accepts, whatever the history contains."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa import Proposer
from langchain_moa.members.conversation import for_aggregator, for_proposer

if TYPE_CHECKING:
    from langchain_moa.members.member import Member

CLASSES = (
    *("BaseChatOpenAI", "ChatAnthropic", "ChatBedrockConverse", "ChatCohere", "ChatDeepSeek", "ChatFireworks"),
    *("ChatGoogleGenerativeAI", "ChatGroq", "ChatMistralAI", "ChatOllama", "ChatTogether", "ChatXAI"),
)
SECRET = "a-thought-of-another"


def member(name: str) -> Member:
    """Return a member with the dialect of the class."""
    made = type(name, (GenericFakeChatModel,), {})(messages=iter(()))
    return Proposer(made).resolve({})


MEMBERS = {name: member(name) for name in CLASSES}

# --- what users, tools and other models send ---

classes = st.sampled_from(CLASSES)
names = st.sampled_from(["a", "b", "c", "call_0", "functions.f:0", "x" * 60])
texts = st.sampled_from(["", " ", "Hello.", "Some more.", "[x]"])
strange = st.sampled_from(
    [None, "", "AAAA", "not base64!", "é", "data:image/png;base64,AAAA", 3, [1], {"bytes": "x"}, b"\x89PNG"]
)
keys = st.sampled_from(
    [
        *("type", "text", "url", "base64", "file_id", "mime_type", "data", "source_type", "source"),
        *("image", "image_url", "file", "document", "input_audio", "video", "content"),
        *("cache_control", "file_uri", "file_data", "title", "name", "format"),
    ]
)
kinds = st.sampled_from(
    [
        *("text", "image", "image_url", "audio", "input_audio", "video", "file", "document"),
        *("media", "text-plain", "input_text", "input_image", "input_file"),
        *("search_result", "thinking", "reasoning", "tool_use", "unheard-of"),
    ]
)
values = st.recursive(strange | texts, lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=2))
blocks = st.builds(
    lambda kind, rest: {**rest, **kind},
    st.fixed_dictionaries({}, optional={"type": kinds | strange}),
    st.dictionaries(keys, values, max_size=4),
)
contents = texts | st.lists(texts | blocks, max_size=3)
thoughts = st.sampled_from(
    [
        {"type": "thinking", "thinking": SECRET, "signature": SECRET},
        {"type": "reasoning", "reasoning": SECRET, "extras": {"signature": SECRET}},
        {"type": "redacted_thinking", "data": SECRET},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": SECRET}},
    ]
)
tool_calls = st.lists(
    st.builds(lambda id_: {"name": "f", "args": {"n": 1}, "id": id_}, names), max_size=3, unique_by=lambda call: call["id"]
)


@st.composite
def ai_messages(draw: st.DrawFn) -> AIMessage:
    content: Any = draw(texts | st.lists(thoughts | st.builds(lambda text: {"type": "text", "text": text}, texts), max_size=3))
    calls = draw(tool_calls)
    invalid = [{"name": "f", "args": "{", "id": "bad", "error": None}] if draw(st.booleans()) else []
    return AIMessage(content, tool_calls=calls, invalid_tool_calls=invalid, additional_kwargs={"reasoning_content": SECRET})


@st.composite
def steps(draw: st.DrawFn) -> list[BaseMessage]:
    """A message of the model with the results of its tool calls, complete or broken."""
    message = draw(ai_messages())
    called = [str(call["id"]) for call in [*message.tool_calls, *message.invalid_tool_calls]]
    if draw(st.booleans()):
        called = draw(st.permutations([*called, *draw(st.lists(names, max_size=1))]))[: draw(st.integers(0, 4))]
    results: list[BaseMessage] = [ToolMessage(draw(contents), tool_call_id=each) for each in called]
    if draw(st.integers(0, 9)) == 0:
        results.insert(
            draw(st.integers(0, len(results))), draw(st.builds(SystemMessage, texts) | st.builds(HumanMessage, contents))
        )
    return [message, *results]


single = st.one_of(st.builds(HumanMessage, contents), st.builds(SystemMessage, texts)).map(lambda message: [message])
conversations = st.lists(single | steps(), max_size=5).map(lambda parts: [each for part in parts for each in part])


def as_text(messages: list[BaseMessage]) -> str:
    return json.dumps([message.model_dump() for message in messages], default=str)


def wrong(messages: list[BaseMessage], name: str) -> list[str]:
    """Return what a provider would reject."""
    dialect = MEMBERS[name].dialect
    others = [message for message in messages if not isinstance(message, SystemMessage)]
    pairs = [(type(one), type(two)) for one, two in pairwise(others)]
    found = {
        "a system message after the first": messages[-len(others) :] != others if others else len(messages) > 1,
        "the first message is not the user's": dialect.user_first and others and not isinstance(others[0], HumanMessage),
        "an empty message of the model's": any(isinstance(each, AIMessage) and is_empty(each) for each in others),
        "calls and results do not fit": any(sorted(called) != sorted(answered) for called, answered in exchanges(others)),
        "a user's message after a result": not dialect.user_after_tool and (ToolMessage, HumanMessage) in pairs,
        "two messages of one speaker": {(AIMessage, AIMessage), (HumanMessage, HumanMessage)} & set(pairs),
        "content that is no string": dialect.strings_only and any(not isinstance(each.content, str) for each in others),
    }
    return [problem for problem, is_found in found.items() if is_found]


def is_empty(message: AIMessage) -> bool:
    return not message.tool_calls and not str(message.text).strip()


def exchanges(messages: list[BaseMessage]) -> list[tuple[list[str], list[str]]]:
    """Return the ids of each message's tool calls, and of the results that directly follow."""
    found: list[tuple[list[str], list[str]]] = [([], [])]
    for message in messages:
        if isinstance(message, ToolMessage):
            found[-1][1].append(message.tool_call_id)
        else:
            found.append(([str(call["id"]) for call in message.tool_calls] if isinstance(message, AIMessage) else [], []))
    return found


@settings(max_examples=400, deadline=None)
@given(name=classes, messages=conversations, has_tools=st.booleans())
def test_any_conversation_becomes_one_its_provider_takes(name: str, messages: list[BaseMessage], *, has_tools: bool) -> None:
    before = as_text(messages)
    sent = for_aggregator(messages, MEMBERS[name], has_tools=has_tools)
    assert wrong(sent, name) == []
    assert SECRET not in as_text(sent)
    assert as_text(messages) == before


@settings(max_examples=100, deadline=None)
@given(name=classes, messages=conversations)
def test_a_proposer_is_sent_no_tools_and_no_thoughts(name: str, messages: list[BaseMessage]) -> None:
    sent = for_proposer(messages, MEMBERS[name], tools=[])
    assert wrong(sent, name) == []
    assert not any(isinstance(message, ToolMessage) or getattr(message, "tool_calls", None) for message in sent)
    assert SECRET not in as_text(sent)


@settings(max_examples=100, deadline=None)
@given(name=classes, whole=st.lists(tool_calls.filter(bool), min_size=1, max_size=3))
def test_calls_with_their_results_stay_calls(name: str, whole: list[list[dict[str, Any]]]) -> None:
    messages: list[BaseMessage] = [HumanMessage("Hello.")]
    for calls in whole:
        messages.append(AIMessage("", tool_calls=calls))
        messages += [ToolMessage(f"result of {call['id']}", tool_call_id=call["id"]) for call in calls]
    sent = for_aggregator(messages, MEMBERS[name], has_tools=True)
    assert wrong(sent, name) == []
    assert [type(message) for message in sent] == [type(message) for message in messages]
    results = [message.content for message in sent if isinstance(message, ToolMessage)]
    assert results == [message.content for message in messages if isinstance(message, ToolMessage)]


@pytest.mark.parametrize("name", ["ChatGroq", "ChatMistralAI", "ChatOllama"])
def test_the_id_of_another_providers_file_is_no_address(name: str) -> None:
    asked = HumanMessage([{"type": "text", "text": "What is this?"}, {"type": "image", "file_id": "file-1"}])
    (sent,) = for_aggregator([asked], MEMBERS[name], has_tools=False)
    assert sent.content == [
        {"type": "text", "text": "What is this?"},
        {"type": "text", "text": "[image omitted: this model cannot take it]"},
    ]


def test_greetings_go_to_the_system_message_where_the_user_must_begin() -> None:
    greetings = [AIMessage("Hello."), AIMessage("How can I help?")]
    sent = for_aggregator([*greetings, HumanMessage("Add.")], MEMBERS["ChatAnthropic"], has_tools=False)
    assert [type(message) for message in sent] == [SystemMessage, HumanMessage]
    assert all(greeting.text in sent[0].text for greeting in greetings)


def test_a_call_without_its_result_is_told_in_words() -> None:
    called = AIMessage("", tool_calls=[{"name": "f", "args": {"n": 1}, "id": "a"}])
    sent = for_aggregator([HumanMessage("Add."), called, HumanMessage("Well?")], MEMBERS["BaseChatOpenAI"], has_tools=True)
    assert [message.text for message in sent] == ["Add.", '[Called the tool f with {"n": 1}]', "Well?"]


def test_a_system_message_between_results_leaves_them_together() -> None:
    image = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}
    calls: list[Any] = [{"name": "f", "args": {}, "id": each} for each in ("a", "b")]
    results = [ToolMessage([image], tool_call_id="a"), SystemMessage("Be brief."), ToolMessage("2", tool_call_id="b")]
    sent = for_aggregator([HumanMessage("?"), AIMessage("", tool_calls=calls), *results], MEMBERS["ChatGroq"], has_tools=True)
    assert [type(message) for message in sent] == [
        SystemMessage,
        HumanMessage,
        AIMessage,
        ToolMessage,
        ToolMessage,
        HumanMessage,
    ]
