"""Images, audio and documents are sent to the members that support them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_moa import ChatMoA

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

BLIND = {"image_inputs": False, "audio_inputs": False, "pdf_inputs": False}
SEEING = {"image_inputs": True, "audio_inputs": True, "pdf_inputs": True}

IMAGE: dict[str, Any] = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}
IMAGE_URL: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
AUDIO: dict[str, Any] = {"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}
FILE: dict[str, Any] = {"type": "file", "base64": "aGk=", "mime_type": "application/pdf", "filename": "a.pdf"}


@pytest.mark.parametrize(
    ("block", "note"),
    [(IMAGE, "image"), (IMAGE_URL, "image url"), (AUDIO, "audio"), (FILE, "file")],
    ids=["image", "image_url", "audio", "file"],
)
def test_a_medium_goes_to_who_can_take_it(loopback: Loopback, chat: Chat, block: dict[str, Any], note: str) -> None:
    members = [chat("seeing", profile=SEEING), chat("blind", profile=BLIND), chat("unknown")]
    moa = ChatMoA(proposers=members, aggregator=chat("agg", profile=SEEING), num_layers=1)
    message = HumanMessage([{"type": "text", "text": "What is this?"}, block])
    before = message.model_dump()
    moa.invoke([message])
    # Without a profile, only images are assumed: many servers speak this protocol and reject what they do not support.
    for name in ("seeing", "agg", *(["unknown"] if "image" in note else [])):
        parts = loopback.calls(name)[0].messages[-1]["content"]
        assert [part["type"] == "text" for part in parts] == [True, False], name
    for name in ("blind", *([] if "image" in note else ["unknown"])):
        parts = loopback.calls(name)[0].messages[-1]["content"]
        assert parts[1] == {"type": "text", "text": f"[{note} omitted: this model cannot take it]"}
    assert message.model_dump() == before


def test_an_aggregator_that_cannot_see_is_sent_the_note(loopback: Loopback, chat: Chat) -> None:
    moa = ChatMoA(proposers=[chat("seeing", profile=SEEING)], aggregator=chat("agg", profile=BLIND), num_layers=1)
    moa.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, IMAGE])])
    assert loopback.calls("agg")[0].messages[-1]["content"][1]["text"] == "[image omitted: this model cannot take it]"
