"""Token budgets: texts are cut at natural places, and never the user's last message."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_moa.prompting.budget import CUT, _tokens, cut, fit
from langchain_moa.prompting.prompts import resolve_prompt


def reference(text: str, proposer: int = 1) -> Any:
    return {"layer": 1, "proposer": proposer, "text": text, "status": "ok"}


@given(st.text(), st.integers(1, 100))
def test_a_cut_text_is_within_its_budget_and_says_so(text: str, tokens: int) -> None:
    short = cut(text, tokens)
    assert len(short) <= max(tokens * 4, len(CUT))
    if len(text) <= tokens:
        assert short == text
    if len(text) > tokens * 4:
        assert short != text
    if short != text:
        assert short.endswith(CUT)
        assert text.startswith(short.removesuffix(CUT))


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("One two three. Four five six seven.", "One two three. […]"),
        ("A first line\nand a second one of words", "A first line […]"),
        ("一二三。四五六七八九十", "一二三。 […]"),
        ("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopq […]"),
        # Half of the available room, minus one letter.
        ("One two. abcdefghijklmnopqr", "One two. […]"),
        ("One tw. abcdefghijklmnopqrs", "One tw. abcdefghi […]"),
    ],
)
def test_it_is_cut_at_a_sentence_or_a_line(text: str, short: str) -> None:
    assert cut(text, 6) == short


conversations = st.lists(st.tuples(st.sampled_from([HumanMessage, AIMessage]), st.text(max_size=400)), max_size=8)


@given(conversations, st.lists(st.text(max_size=3000), max_size=6), st.integers(1, 4000))
def test_a_prompt_fits_unless_what_may_not_go_is_too_much(said: Any, texts: list[str], window: int) -> None:
    messages: list[BaseMessage] = [SystemMessage("Be brief."), *(kind(text) for kind, text in said), HumanMessage("Why?")]
    references = [reference(text, place) for place, text in enumerate(texts, start=1)]
    prompt = resolve_prompt("paper")
    before = [message.model_dump() for message in messages]
    sent, trimmed = fit(messages, references, prompt, window=window)
    assert sent[-1] == messages[-1]
    assert sent[0].text.startswith("Be brief.")
    assert [message.model_dump() for message in messages] == before
    assert bool(trimmed) or sent == prompt(messages, references)
    if _tokens(sent) > 0.9 * window:
        assert [message for message in sent if isinstance(message, HumanMessage)] == [messages[-1]]


def test_references_are_cut_before_messages_go() -> None:
    messages: list[BaseMessage] = [HumanMessage("a" * 400), AIMessage("b" * 400), HumanMessage("Why?")]
    references = [reference("c. " * 2000), reference("short", 2)]
    sent, trimmed = fit(messages, references, resolve_prompt("paper"), window=1500)
    assert len(sent) == 4
    assert sent[0].text.endswith("2. short")
    assert len(trimmed) == 1
    assert re.fullmatch(r"references cut to \d+ tokens", trimmed[0])
    sent, trimmed = fit(messages, references, resolve_prompt("paper"), window=300)
    assert [message.text for message in sent[1:]] == ["Why?"]
    assert trimmed[1] == "2 of the oldest messages left out"


def called(number: int) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "look_up", "args": {"word": "sky"}, "id": f"call_{number}"}])


turns = st.lists(st.lists(st.sampled_from(["say", "call"]), max_size=4), min_size=1, max_size=5)


@given(turns, st.booleans(), st.integers(1, 600))
def test_what_is_left_can_be_sent(said: list[list[str]], greets: bool, window: int) -> None:
    messages: list[BaseMessage] = [SystemMessage("Be brief."), *([AIMessage("Hello!")] if greets else [])]
    for turn, steps in enumerate(said):
        messages.append(HumanMessage(f"Question {turn}? " * 5))
        for number, step in enumerate(steps):
            if step == "say":
                messages.append(AIMessage("An answer of a few words. " * 5))
            else:
                both = (f"{turn}{number}a", f"{turn}{number}b")
                calls = [{"name": "look_up", "args": {}, "id": each} for each in both]
                messages += [AIMessage("", tool_calls=calls), *(ToolMessage("found " * 20, tool_call_id=each) for each in both)]
    sent, trimmed = fit(messages, [], lambda given, _: given, window=window)
    assert sent[0] == messages[0]
    users = [message for message in messages if isinstance(message, HumanMessage)]
    assert users[-1] in sent
    if len(sent) < len(messages):
        assert isinstance(sent[1], HumanMessage)
        assert f"{len(messages) - len(sent)} of the oldest messages left out" in trimmed
    open_calls: set[str] = set()
    for message in sent:
        if isinstance(message, ToolMessage):
            open_calls.remove(message.tool_call_id)
        else:
            assert not open_calls
        open_calls |= {str(call["id"]) for call in getattr(message, "tool_calls", [])}
    assert not open_calls
    too_long = any(line.startswith("still too long") for line in trimmed)
    assert too_long == (_tokens(sent) > int(0.9 * window))
    assert _tokens(sent) >= count_tokens_approximately(sent)
    left = {id(message) for message in sent}
    assert [message for message in messages if id(message) in left] == sent


def test_as_much_stays_as_there_is_room_for_to_the_last_token() -> None:
    said: list[BaseMessage] = [each for n in range(4) for each in (HumanMessage("old " * (9 + n)), AIMessage("old " * 7))]
    said.append(HumanMessage("Why?"))
    rests = [said[2 * gone :] for gone in range(5)]
    for window in range(-2, 130):
        room = int(0.9 * window)
        sent, trimmed = fit(said, [], lambda given, _: given, window=window)
        assert sent == next((rest for rest in rests if _tokens(rest) <= room), rests[-1])
        gone = len(said) - len(sent)
        size = _tokens(sent)
        assert trimmed == [
            *([f"{gone} of the oldest messages left out"] if gone else []),
            *([f"still too long, but sent: about {size} tokens, with room for {max(room, 0)}"] if size > room else []),
        ]


def test_no_more_goes_than_has_to() -> None:
    messages: list[BaseMessage] = [each for n in range(50) for each in (HumanMessage(f"{n} " * 40), AIMessage(f"{n} " * 40))]
    messages.append(HumanMessage("Why?"))
    sent, _ = fit(messages, [], lambda given, _: given, window=400)
    left_out = messages[: len(messages) - len(sent)]
    assert _tokens(sent) <= 360
    assert _tokens([*left_out[-2:], *sent]) > 360


def test_of_an_agents_last_turn_the_latest_step_stays() -> None:
    steps = [each for n in range(4) for each in (called(n), ToolMessage("found " * 100, tool_call_id=f"call_{n}"))]
    messages: list[BaseMessage] = [HumanMessage("Before?"), AIMessage("Yes."), HumanMessage("Why?"), *steps]
    sent, trimmed = fit(messages, [], lambda given, _: given, window=60)
    assert sent == [messages[2], *steps[-2:]]
    assert trimmed[0] == "8 of the oldest messages left out"
    assert trimmed[1].startswith("still too long, but sent: about ")


def test_a_conversation_in_which_no_user_speaks_is_sent_whole() -> None:
    messages: list[BaseMessage] = [SystemMessage("Be brief."), AIMessage("old " * 100), AIMessage("old " * 100)]
    sent, trimmed = fit(messages, [], lambda given, _: given, window=60)
    assert sent == messages
    assert trimmed == [f"still too long, but sent: about {_tokens(messages)} tokens, with room for 54"]


def test_instructions_stay_wherever_they_stand() -> None:
    first, second = SystemMessage("Be brief."), SystemMessage("Be kind.")
    messages: list[BaseMessage] = [first, HumanMessage("old " * 100), second, AIMessage("old " * 100), HumanMessage("Why?")]
    assert fit(messages, [], lambda given, _: given, window=60)[0] == [first, second, messages[-1]]


def test_a_reference_that_the_prompt_cuts_itself_is_cut_further() -> None:
    messages: list[BaseMessage] = [HumanMessage("old"), AIMessage("old"), HumanMessage("Why?")]
    references = [reference("A sentence of words. " * 5000, place) for place in (1, 2, 3)]
    sent, trimmed = fit(messages, references, resolve_prompt("hardened"), window=2000)
    assert sent[1:] == messages
    assert 1000 < count_tokens_approximately(sent) <= 1800
    assert len(trimmed) == 1


def test_what_is_sent_is_what_was_measured() -> None:
    drawn = count()

    def prompt(messages: list[BaseMessage], references: Any) -> list[BaseMessage]:
        # Every second time, the redrawn part is longer.
        return [SystemMessage("1" * (next(drawn) % 2) * 40 + references[0]["text"]), *messages]

    for words in range(400, 440):
        sent, trimmed = fit([HumanMessage("Why?")], [reference("word " * words)], prompt, window=400)
        assert _tokens(sent) <= 360
        assert len(trimmed) == 1


@pytest.mark.parametrize(
    "kind",
    [
        *("audio", "document", "file", "image", "input_audio", "input_file", "input_image", "video"),
        *("media", "video_url"),
    ],
)
def test_a_file_counts_as_a_picture_and_the_words_beside_it_as_words(kind: str) -> None:
    words = {"type": "text", "text": "Why? " * 20}
    file, picture = HumanMessage([{"type": kind, "base64": "A" * 100_000}, words]), HumanMessage([{"type": "image"}, words])
    counted = count_tokens_approximately([picture])
    assert _tokens([file]) == counted + 20 // 4, "the question marks are signs"
    said: list[BaseMessage] = [HumanMessage("old"), AIMessage("old"), file]
    assert fit(said, [], lambda given, _: given, window=1000) == (said, [])


def test_references_are_whole_where_only_messages_are_too_much() -> None:
    messages: list[BaseMessage] = [HumanMessage("old " * 5000), AIMessage("old"), HumanMessage("Why?")]
    sent, trimmed = fit(messages, [reference("A sentence. " * 100)], resolve_prompt("paper"), window=1000)
    assert trimmed == ["2 of the oldest messages left out"]
    assert sent[0].text.endswith("1. " + "A sentence. " * 100)


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        # As the tokenizers of SmolLM2 and Gemma 3 count: a digit is a token, a letter is not.
        (" ".join(f"{number * 7919 % 1_000_000_007:09d}" for number in range(10**6, 10**6 + 400)), 4000),
        ("An answer of a few words. " * 100, 700),
    ],
    ids=["figures", "words"],
)
def test_figures_are_counted_as_tokenizers_do(text: str, counted: int) -> None:
    assert 0.9 * counted <= _tokens([HumanMessage(text)]) <= 1.1 * counted


@pytest.mark.parametrize(
    ("texts", "more"),
    [
        (["letters"], 0),
        (["signs!!!"], 0),
        (["signs!!!!"], 1),
        (["figures 1"], 0),
        (["figures 12"], 1),
        (["字"], 0),
        (["文字"], 1),
        # In the sum, not one by one.
        (["signs!!", "signs!!"], 1),
        (["signs!!!", "letters"], 0),
    ],
)
def test_what_is_denser_than_letters_counts_for_more(texts: list[str], more: int) -> None:
    messages = [HumanMessage(text) for text in texts]
    assert _tokens(messages) == count_tokens_approximately(messages) + more


def test_figures_in_the_calls_of_tools_count_too() -> None:
    def asked(word: str) -> list[BaseMessage]:
        return [AIMessage("", tool_calls=[{"name": "look_up", "args": {"word": word}, "id": "call"}])]

    assert _tokens(asked("1" * 400)) == _tokens(asked("a" * 400)) + 300


def test_no_window_no_cut() -> None:
    messages: list[BaseMessage] = [HumanMessage("Why?")]
    references = [reference("c" * 100_000)]
    assert fit(messages, references, resolve_prompt("paper"), window=None)[1] == []
    assert len(resolve_prompt("paper", max_reference_tokens=100)(messages, references)[0].text) < 1500
