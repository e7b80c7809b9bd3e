"""Prompts: how references are shown, in whose words, and how the user's own functions are checked."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.errors import GraphInterrupt

from langchain_moa.prompting.place import add_system_text
from langchain_moa.prompting.prompts import PROMPTS, SYNTHESIZE, PromptError, resolve_prompt

QUESTION = HumanMessage("Why?")
REFERENCES: Any = [{"text": "Blue."}, {"text": "It is\nblue."}]
SHOWN = "\n\nResponses from models:\n1. Blue.\n2. It is\nblue."


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [SystemMessage("More.")]),
        ([QUESTION], [SystemMessage("More."), QUESTION]),
        ([SystemMessage("Be brief.", id="7"), QUESTION], [SystemMessage("Be brief.\n\nMore.", id="7"), QUESTION]),
        ([AIMessage("Hello!"), SystemMessage("late")], [SystemMessage("More."), AIMessage("Hello!"), SystemMessage("late")]),
        (
            [SystemMessage([{"type": "text", "text": "Be brief."}]), QUESTION],
            [SystemMessage([{"type": "text", "text": "Be brief."}, {"type": "text", "text": "\n\nMore."}]), QUESTION],
        ),
    ],
)
def test_a_text_is_added_behind_the_users_own(before: Any, after: Any) -> None:
    kept = [message.model_copy(deep=True) for message in before]
    assert add_system_text(before, "More.") == after
    assert before == kept


@pytest.mark.parametrize(("prompt", "instruction"), [("paper", SYNTHESIZE), ("Answer well.", "Answer well.")])
def test_references_are_numbered_below_the_instruction(prompt: str, instruction: str) -> None:
    assert resolve_prompt(prompt)([QUESTION], REFERENCES) == [SystemMessage(instruction + SHOWN), QUESTION]
    assert resolve_prompt(prompt)([QUESTION], []) == [QUESTION]


def test_a_prompt_has_a_name_or_more_words_than_one() -> None:
    assert [resolve_prompt(name).show for name in PROMPTS] == list(PROMPTS.values())
    with pytest.raises(
        ValueError,
        match=r"^unknown prompt 'papper'; choose one of: paper, hardened, blind, or write an instruction of your own",
    ):
        resolve_prompt("papper")


def listed(messages: Any, references: Any) -> Any:
    return [*messages, *(reference["text"] for reference in references)]


def test_each_reference_is_cut_whoever_shows_it() -> None:
    long: Any = [{"text": "word " * 100, "name": "a"}, {"text": "Blue.", "name": "b"}]
    sent = resolve_prompt(listed, max_reference_tokens=10)([QUESTION], long)
    assert [message.text for message in sent] == ["Why?", "word word word word word word wor […]", "Blue."]
    assert long[0] == {"text": "word " * 100, "name": "a"}
    names: list[str] = []

    def named(messages: Any, references: Any) -> Any:
        names.extend(reference["name"] for reference in references)
        return messages

    resolve_prompt(named, max_reference_tokens=10)([QUESTION], long)
    assert names == ["a", "b"]


def test_what_a_users_prompt_does_to_its_lists_stays_its_own() -> None:
    def grasping(messages: Any, references: Any) -> Any:
        messages.append(("ai", references.pop()["text"]))
        return tuple(messages)

    messages: list[Any] = [QUESTION]
    references = list(REFERENCES)
    assert resolve_prompt(grasping)(messages, references) == [QUESTION, AIMessage("It is\nblue.")]
    assert (messages, references) == ([QUESTION], REFERENCES)


async def eager(messages: Any, references: Any) -> Any:
    return messages


class Silent:
    def __call__(self, messages: Any, references: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("prompt", "name", "words"),
    [
        (eager, "eager", "it is async; a prompt must be a sync function"),
        (Silent(), "Silent", "it returned no message at all; return a list of messages"),
        (lambda _, __: (), "<lambda>", "it returned no message at all; return a list of messages"),
        (lambda _, __: "Answer well.", "<lambda>", "it returned str; return a list of messages"),
    ],
)
def test_what_is_no_prompt_is_called_by_its_name(prompt: Any, name: str, words: str) -> None:
    with pytest.raises(PromptError) as failure:
        resolve_prompt(prompt)([QUESTION], REFERENCES)
    assert str(failure.value) == name
    assert isinstance(failure.value.__cause__, TypeError)
    assert str(failure.value.__cause__) == words


def test_an_interrupt_is_no_failure_of_the_prompt() -> None:
    def asks(messages: Any, references: Any) -> Any:
        raise GraphInterrupt

    with pytest.raises(GraphInterrupt):
        resolve_prompt(asks)([QUESTION], REFERENCES)
