from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from pydantic import BaseModel

from langchain_moa.local import ChatLocal, ServerError
from langchain_moa.local.server import CONTEXT
from tests.waiting import PATIENCE
from tests.watch import Witness

if TYPE_CHECKING:
    from pathlib import Path

PARIS = "What is the capital of France?"


class City(BaseModel):
    name: str
    country: str


def test_a_model_answers_and_counts_its_tokens(any_model: ChatLocal) -> None:
    answer = any_model.invoke(PARIS)
    assert "Paris" in answer.text
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == any_model.model_name
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == any_model.get_num_tokens_from_messages([HumanMessage(PARIS)])


async def test_the_same_question_has_the_same_answer_sync_async_and_streamed(any_model: ChatLocal) -> None:
    expected = any_model.invoke(PARIS).text
    assert (await any_model.ainvoke(PARIS)).text == expected
    streamed = AIMessageChunk(content="")
    for chunk in any_model.stream(PARIS):
        streamed += chunk
    assert streamed.text == expected
    assert streamed.usage_metadata is not None
    assert "".join([chunk.text async for chunk in any_model.astream(PARIS)]) == expected


async def test_an_answer_begins_with_its_first_letter(any_model: ChatLocal) -> None:
    answer = any_model.invoke(PARIS).text
    assert answer == answer.lstrip() != ""
    handler = Witness()
    streamed = [chunk.text async for chunk in any_model.astream(PARIS, {"callbacks": [handler]})]
    assert "".join(streamed) == answer
    # Handlers get what the stream contains, including all spaces between words.
    assert "".join(handler.tokens) == answer
    assert " " in answer


def test_a_conversation_with_a_system_message_and_a_history_is_understood(any_model: ChatLocal) -> None:
    history = [SystemMessage("Answer briefly."), HumanMessage("What is the capital of Italy?"), AIMessage("Rome.")]
    assert "Paris" in any_model.invoke([*history, HumanMessage(PARIS)]).text


def test_structured_output_fits_its_schema(any_model: ChatLocal) -> None:
    city = any_model.with_structured_output(City).invoke("Which city has the Eiffel tower?")
    assert isinstance(city, City)


def test_max_tokens_limits_an_answer(smollm: ChatLocal) -> None:
    answer = smollm.invoke("Tell me a long story.", max_tokens=3)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 3
    assert answer.response_metadata["finish_reason"] == "length"


def test_other_seeds_give_other_answers(smollm: ChatLocal) -> None:
    question = "Tell me a story."
    models = [ChatLocal(model=smollm.model_name, seed=seed, temperature=1.0, max_tokens=16) for seed in (1, 2, 3)]
    assert len({model.invoke(question).text for model in models}) > 1


def test_several_calls_at_once_are_all_answered(smollm: ChatLocal) -> None:
    answers = smollm.batch([PARIS, "What is the capital of Italy?", "What is the capital of Spain?"] * 2)
    assert len(answers) == 6
    assert all(answer.text for answer in answers)


def test_a_model_outlives_an_event_loop(smollm: ChatLocal) -> None:
    answers = [asyncio.run(smollm.ainvoke(PARIS)).text for _ in range(2)]
    assert answers[0] == answers[1]


def test_a_conversation_that_is_too_long_is_an_error_that_says_so(smollm: ChatLocal) -> None:
    with pytest.raises(ContextOverflowError, match=rf"has 4\d\d\d tokens, .* only {CONTEXT}, .*; shorten the conversation"):
        smollm.invoke("word " * 4_400)


async def test_a_stream_that_is_too_long_is_the_same_error(smollm: ChatLocal) -> None:
    with pytest.raises(ContextOverflowError, match="shorten the conversation"):
        async for _ in smollm.astream("word " * 4_400):
            pass


def test_nobody_without_the_key_gets_an_answer(smollm: ChatLocal) -> None:
    server = smollm._serve()
    assert server.address.startswith("http://127.0.0.1:")
    body = {"messages": [{"role": "user", "content": PARIS}]}
    for headers in ({}, {"Authorization": "Bearer guess"}):
        answer = httpx.post(
            f"{server.address}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=PATIENCE
        )
        assert answer.status_code == 401


def test_a_server_that_was_killed_is_started_again(smollm: ChatLocal) -> None:
    server = smollm._serve()
    server._process.kill()
    server._process.wait()
    assert "Paris" in smollm.invoke(PARIS).text
    assert smollm._serve() is not server


def test_a_damaged_file_is_an_error_with_llama_cpps_reason(smollm: ChatLocal, tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    with smollm.path.open("rb") as whole:
        path.write_bytes(whole.read(5_000))
    with pytest.raises(ServerError, match=r"cannot serve .*damaged\.gguf: gguf"):
        ChatLocal(model=str(path)).invoke("Hello")


def test_a_file_of_ones_own_is_a_model_with_its_own_template(smollm: ChatLocal, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.symlink_to(smollm.path)
    mine = ChatLocal(model=str(path), max_tokens=16, temperature=0)
    assert mine.path == smollm.path
    assert mine.invoke(PARIS).text
