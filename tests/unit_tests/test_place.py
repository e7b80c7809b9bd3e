"""Where prompts show references, and which places a model supports."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_moa.prompting.place import ReferencePlace, add_last_text, without_system_messages
from langchain_moa.prompting.prompts import BLIND, PROMPTS, resolve_prompt

CALL = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
RESULT = ToolMessage("It is day.", tool_call_id="1")
SHOWING = [name for name in PROMPTS if name != BLIND]
REFERENCES: Any = [{"text": "Blue."}, {"text": "It is blue."}]


class Model:
    """A chat model whose class may convert system messages."""

    def __init__(self, converts: bool) -> None:
        self.convert_system_message_to_human = converts


def place(model: Any = None, name: str = "openai:gpt-6-luna", **options: Any) -> ReferencePlace:
    return ReferencePlace.of(model, name, **{"at": "end", **options})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [HumanMessage("More.")]),
        ([HumanMessage("Why?", id="7", name="me")], [HumanMessage("Why?\n\nMore.", id="7", name="me")]),
        ([HumanMessage(" ")], [HumanMessage("More.")]),
        (
            [HumanMessage([{"type": "text", "text": "Why?"}])],
            [HumanMessage([{"type": "text", "text": "Why?"}, {"type": "text", "text": "\n\nMore."}])],
        ),
        ([CALL, RESULT], [CALL, RESULT, HumanMessage("More.")]),
        ([SystemMessage("Be brief.")], [SystemMessage("Be brief."), HumanMessage("More.")]),
        ([HumanMessage("Why?"), AIMessage("Because")], [HumanMessage("Why?\n\nMore."), AIMessage("Because")]),
        ([AIMessage("Hello!")], [AIMessage("Hello!"), HumanMessage("More.")]),
    ],
)
def test_a_text_is_added_after_the_last_message(before: Any, after: Any) -> None:
    kept = [message.model_copy(deep=True) for message in before]
    assert add_last_text(before, "More.") == after
    assert before == kept


@pytest.mark.parametrize("content", ["It is day.", [{"type": "text", "text": "It is day."}]])
def test_it_is_added_to_the_last_result(content: Any) -> None:
    results = [RESULT, ToolMessage(content, tool_call_id="2", artifact={"a": 1})]
    sent = add_last_text([CALL, *results], "More.")
    assert ReferencePlace().adapt(sent) == sent == [CALL, *results, HumanMessage("More.")]
    *before, last = ReferencePlace(has_user_after_tools=False).adapt(sent)
    assert before == [CALL, RESULT]
    assert last.text == "It is day.\n\nMore."
    assert (last.type, getattr(last, "artifact", None)) == ("tool", {"a": 1})
    *_, last = ReferencePlace(has_user_after_tools=False).adapt(
        [CALL, RESULT, HumanMessage([{"type": "text", "text": "More."}])]
    )
    assert last.content == [{"type": "text", "text": "It is day."}, {"type": "text", "text": "More."}]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([HumanMessage("Why?")], [HumanMessage("Why?")]),
        ([SystemMessage("Be brief.")], [HumanMessage("Be brief.")]),
        ([SystemMessage("Be brief."), HumanMessage("Why?", id="7")], [HumanMessage("Be brief.\n\nWhy?", id="7")]),
        ([SystemMessage("Be brief."), AIMessage("Hello!")], [HumanMessage("Be brief."), AIMessage("Hello!")]),
        (
            [HumanMessage("Hi"), AIMessage("Hello!"), SystemMessage("A summary."), HumanMessage("Why?")],
            [HumanMessage("Hi"), AIMessage("Hello!"), HumanMessage("A summary.\n\nWhy?")],
        ),
        (
            [SystemMessage("Be brief."), HumanMessage([{"type": "image", "url": "https://example.org/a.png"}])],
            [
                HumanMessage(
                    [{"type": "text", "text": "Be brief.\n\n"}, {"type": "image", "url": "https://example.org/a.png"}],
                )
            ],
        ),
        (
            [SystemMessage([{"type": "text", "text": "Be brief."}]), HumanMessage("Why?")],
            [HumanMessage([{"type": "text", "text": "Be brief."}, {"type": "text", "text": "\n\nWhy?"}])],
        ),
    ],
)
def test_without_a_system_role_the_user_says_it(before: Any, after: Any) -> None:
    assert without_system_messages(before) == after


@pytest.mark.parametrize(
    ("name", "has_system_role"),
    [
        *[(name, False) for name in ("google_genai:gemma-3-27b-it", "ollama:gemma:7b", "ollama:gemma2", "google/gemma-7b-it")],
        *[(name, False) for name in ("local:gemma3-270m", "mistralai/Mistral-7B-Instruct-v0.2", "ollama:codegemma:2b")],
        *[(name, True) for name in ("ollama:gemma4:27b", "google/gemma-4-31b-it", "mistralai/Mistral-7B-Instruct-v0.3")],
        *[(name, True) for name in ("google_genai:gemini-3.5-flash", "openai:gpt-6-luna", "groq:qwen/qwen3-32b")],
    ],
)
def test_names_of_models_without_a_system_role(name: str, has_system_role: bool) -> None:
    assert place(name=name).has_system_role is has_system_role
    assert place(name=name, has_system_role=not has_system_role).has_system_role is not has_system_role
    # By default, the paper's prompt is sent unchanged.
    assert place(name=name, at="system").has_system_role


def test_a_class_may_say_that_it_has_no_system_role() -> None:
    model = Model(converts=True)
    assert not place(model, at="system").has_system_role
    assert not place(model).has_system_role
    assert place(model, has_system_role=True).has_system_role
    assert place(Model(converts=False)).has_system_role


@pytest.mark.parametrize(
    ("name", "client_takes", "takes"),
    [
        ("mistralai:a-tuned-model", False, False),
        ("together:mistralai/Mixtral-8x7B-Instruct-v0.1", True, False),
        ("vllm:Magistral-Small-2509", True, False),
        ("openai:gpt-6-luna", True, True),
    ],
)
def test_models_that_refuse_a_user_after_the_results_of_tools(name: str, client_takes: bool, takes: bool) -> None:
    assert place(name=name, has_user_after_tools=client_takes).has_user_after_tools is takes


CONTENT = st.text(max_size=20) | st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=9)}), max_size=2
)
MESSAGES = st.lists(st.tuples(st.sampled_from([HumanMessage, AIMessage, SystemMessage]), CONTENT), max_size=6)


@given(MESSAGES, st.sampled_from([*SHOWING, "Answer from these."]), st.booleans(), st.booleans(), st.booleans())
def test_nothing_in_front_of_the_references_changes(
    said: Any, prompt: str, has_system_role: bool, has_user_after_tools: bool, ends_with_tool: bool
) -> None:
    messages: list[BaseMessage] = [kind(content) for kind, content in said]
    messages += [HumanMessage("Why?"), *([CALL, RESULT] if ends_with_tool else [])]
    where = ReferencePlace("end", has_system_role=has_system_role, has_user_after_tools=has_user_after_tools)
    one, other = (where.adapt(resolve_prompt(prompt, place=where)(messages, texts)) for texts in (REFERENCES, REFERENCES[:1]))
    # Whatever the references are, prompts differ only in the last message, after its original text.
    assert one[:-1] == other[:-1]
    last = messages[-1].text if isinstance(messages[-1], HumanMessage) or not has_user_after_tools else ""
    assert all(last in sent[-1].text for sent in (one, other))
    assert one[-1].text.count("Blue.") == 1
    assert has_system_role or not any(isinstance(message, SystemMessage) for message in one)


@pytest.mark.parametrize("prompt", SHOWING)
def test_without_references_nothing_is_added(prompt: str) -> None:
    assert resolve_prompt(prompt, place=ReferencePlace("end"))([HumanMessage("Why?")], []) == [HumanMessage("Why?")]
