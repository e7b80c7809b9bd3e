from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from langchain_moa.local.opening import opened


@pytest.mark.parametrize(
    ("text", "left"), [(" Paris is it. ", "Paris is it. "), ("\n\tParis", "Paris"), ("Paris", "Paris"), ("  ", ""), ("", "")]
)
def test_the_white_space_in_front_goes_and_all_else_stays(text: str, left: str) -> None:
    message = AIMessage(text, id="1", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})
    generation = opened(ChatGeneration(message=message, generation_info={"finish_reason": "stop"}))
    assert (generation.text, generation.message.content) == (left, left)
    assert generation.message == message.model_copy(update={"content": left})
    assert generation.generation_info == {"finish_reason": "stop"}
    assert message.content == text
    chunk = opened(ChatGenerationChunk(message=AIMessageChunk(content=text)))
    assert isinstance(chunk, ChatGenerationChunk)
    assert isinstance(chunk.message, AIMessageChunk)
    assert chunk.text == left


def test_content_in_blocks_is_left_alone() -> None:
    generation = ChatGeneration(message=AIMessage([{"type": "text", "text": " a"}]))
    assert opened(generation) is generation
