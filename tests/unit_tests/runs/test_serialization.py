"""Serialization: messages and other data as JSON."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_moa.runs import MessageRecord
from langchain_moa.runs.serialization import Serializer


def test_a_picture_is_left_out_and_the_words_beside_it_are_kept_whole() -> None:
    picture = {"type": "image", "base64": "A" * 2001, "parts": [{"data": "B" * 3000}, {"data": "B" * 2000}]}
    words = {"type": "text", "text": "Why? " * 1000}
    message = Serializer().message(HumanMessage([picture, words, "So."]))
    assert message.content == [
        {
            "type": "image",
            "base64": "[2,001 characters left out]",
            "parts": [{"data": "[3,000 characters left out]"}, {"data": "B" * 2000}],
        },
        words,
        "So.",
    ]
    assert message.text == f"[image]\n{words['text']}\nSo."
    assert MessageRecord(type="human", content=[{}]).text == "[block]"


def test_calls_of_tools_and_their_results_belong_together() -> None:
    call = {"name": "look_up", "args": {"word": "sky"}, "id": "1", "type": "tool_call"}
    asked, found = Serializer().messages(
        [AIMessage("", tool_calls=[call], name="agent"), ToolMessage("blue", tool_call_id="1")]
    )
    assert (asked.name, asked.tool_calls, asked.tool_call_id) == ("agent", [call], None)
    assert (found.type, found.text, found.tool_call_id, found.name) == ("tool", "blue", "1", None)


def test_half_a_character_of_an_answer_can_be_stored() -> None:
    assert Serializer().message("Blue \ud83d").model_dump_json()
    assert Serializer().message("Blue \ud83d").text == "Blue \ufffd"
