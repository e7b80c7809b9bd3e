"""An answer that was cut at its token limit is detected, whatever the provider calls this."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import HumanMessage

from langchain_moa.data.answer import read_answer
from langchain_moa.data.finish_reasons import finish_kind, finish_reason_of, is_cut
from langchain_moa.members.models import model_id
from tests.providers import PROVIDERS, Answer, member
from tests.providers.asking import ask

if TYPE_CHECKING:
    from tests.providers import ProviderServer

HI = [HumanMessage("Hi.")]


@pytest.mark.parametrize("mode", ["ainvoke", "astream"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_cut_answer_is_known_as_cut(providers: ProviderServer, provider: str, mode: str) -> None:
    model = member(providers, provider)
    providers.script(model_id(model).partition(":")[2], Answer(text="Bees make", finish="length"))
    answer = await ask(model, HI, mode)
    assert answer.text == "Bees make"
    assert is_cut(answer)


@pytest.mark.parametrize("mode", ["ainvoke", "astream"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_whole_answer_is_not_cut(providers: ProviderServer, provider: str, mode: str) -> None:
    answer = await ask(member(providers, provider), HI, mode)
    # The Responses API has no finish reason for a whole answer.
    assert finish_kind(finish_reason_of(answer.response_metadata)) == (None if provider == "responses" else "stop")


@pytest.mark.parametrize("provider", ["bedrock", "ollama", "openai"])
async def test_thoughts_that_were_cut_are_no_reference(providers: ProviderServer, provider: str) -> None:
    model = member(providers, provider)
    providers.script(model_id(model).partition(":")[2], Answer(text="<think>6 times 7 is", finish="length"))
    answer = read_answer(await ask(model, HI, "ainvoke"))
    assert answer["text"] == ""
    assert answer["failure"] is not None
    assert "raise max_tokens" in answer["failure"]["message"]
