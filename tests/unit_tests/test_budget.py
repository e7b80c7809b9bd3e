"""Token budgets: cut where a reader would, never the user's last message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_moa.prompting.budget import CUT, cut, fit
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
    if count_tokens_approximately(sent) > 0.9 * window:
        assert [message for message in sent if isinstance(message, HumanMessage)] == [messages[-1]]


def test_references_are_cut_before_messages_go() -> None:
    messages: list[BaseMessage] = [HumanMessage("a" * 400), AIMessage("b" * 400), HumanMessage("Why?")]
    references = [reference("c. " * 2000), reference("short", 2)]
    sent, trimmed = fit(messages, references, resolve_prompt("paper"), window=1500)
    assert len(sent) == 4
    assert sent[0].text.endswith("2. short")
    assert len(trimmed) == 1
    assert trimmed[0].startswith("references cut to ")
    sent, trimmed = fit(messages, references, resolve_prompt("paper"), window=300)
    assert [message.text for message in sent[1:]] == ["Why?"]
    assert trimmed[1] == "2 of the oldest messages left out"


def test_no_window_no_cut() -> None:
    messages: list[BaseMessage] = [HumanMessage("Why?")]
    references = [reference("c" * 100_000)]
    assert fit(messages, references, resolve_prompt("paper"), window=None)[1] == []
    assert len(resolve_prompt("paper", max_reference_tokens=100)(messages, references)[0].text) < 1500
