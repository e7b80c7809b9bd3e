"""A recorded run contains no key, whatever its format and wherever it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_moa import ChatMoA, MoAError, Proposer, record_moa
from langchain_moa.runs import summary_html
from tests.loopback import Reply

if TYPE_CHECKING:
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

# Two keys without the format of a key, which are known by their declaration, and one with it.
OWN = "quite-ordinary-words-1234"
ENVIRONMENT = "another-ordinary-value-99"
SHAPED = "sk-proj-abcdefghij0123456789abcd"


def test_no_form_of_a_run_shows_a_key(chat: Chat, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", ENVIRONMENT)
    said = f"{OWN} {ENVIRONMENT} {SHAPED}"
    loopback.script("leaks", said)
    loopback.script("refuses", Reply(f"wrong key {said}", status=401))
    leaks: Any = chat("leaks", api_key=OWN, default_headers={"X-Api-Key": OWN})
    moa = ChatMoA(
        proposers=[leaks, Proposer(chat("refuses", api_key=OWN), system_prompt=said)],
        aggregator=leaks,
        num_layers=1,
    )
    with record_moa() as runs:
        moa.invoke(f"My key is {said}", user=said)
        with pytest.raises(MoAError):
            ChatMoA(proposers=[chat("a")], aggregator=chat("refuses", api_key=OWN), num_layers=1).invoke("Why?")
    assert [run.status for run in runs] == ["ok", "failed"]
    assert "**********" in runs[0].text
    for run in runs:
        for shown in (run.to_json(), run.to_html(), repr(run), str(run), run._repr_html_(), summary_html([run])):
            for secret in (OWN, ENVIRONMENT, SHAPED):
                assert secret not in shown


def test_prose_and_code_are_left_alone(chat: Chat, loopback: Loopback) -> None:
    code = "token = tokenizer.encode(text); api_key: see the documentation of your provider"
    loopback.script("a", code)
    with record_moa() as runs:
        ChatMoA(proposers=[chat("a")], aggregator=chat("a"), num_layers=1).invoke("Why?")
    assert runs[0].text == runs[0].calls[0].text == code
