"""`doctor` reports what is installed, calls each member once, and says why a member does not answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.loopback import Reply

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.integration_tests.cli.conftest import Command
    from tests.loopback import Loopback

MEMBERS = ["-p", "openai:p", "-p", "openai:q", "-a", "openai:p", "--layers", "2", "--set", "max_retries=0"]


def test_every_member_is_called_once_and_what_it_takes_is_said(
    moa: Command, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a-key-of-this-test")
    done = moa("doctor", *MEMBERS)
    assert (done.code, done.err) == (0, "")
    assert sorted(loopback.models) == ["p", "q"]
    assert "langgraph " in done.out
    assert "SOME_API_KEY" in done.out
    assert "a-key-of-this-test" not in done.out
    rows = [line.split("\t") for line in done.out.splitlines() if line.startswith("ok\t")]
    assert [(row[1], row[3]) for row in rows] == [("openai:p", loopback.url), ("openai:q", loopback.url)]


def test_a_member_that_does_not_answer_is_explained(moa: Command, loopback: Loopback) -> None:
    loopback.script("p", Reply("No such model, key sk-abcdefgh12345678.", status=404))
    done = moa("doctor", *MEMBERS, "--json")
    assert done.code == 1
    document = json.loads(done.out)
    failed, good = document["members"]
    assert (failed["model"], failed["ok"], good["ok"]) == ("openai:p", False, True)
    assert "No such model" in failed["error"]
    assert "sk-abcdefgh12345678" not in done.out
    assert failed["remedy"] == "check the model's name and the address"
    assert good["error"] is None
    assert document["packages"]["langgraph"]
    text = moa("doctor", *MEMBERS)
    assert text.code == 1
    assert "check the model's name" in text.out


def test_one_that_takes_too_long_is_given_up(moa: Command, loopback: Loopback) -> None:
    loopback.script("q", Reply(hang=True))
    done = moa("doctor", *MEMBERS, "--timeout", "1", "--json")
    assert done.code == 1
    assert json.loads(done.out)["members"][1]["error"] == "timed out after 1 s"


def test_a_member_that_cannot_be_made_does_not_hide_the_others(moa: Command, loopback: Loopback) -> None:
    members = ["-p", "together:p", "-p", "gemini:x", "-p", "openai:q", "-a", "openai:q", "--layers", "1"]
    done = moa("doctor", *members, "--json")
    assert (done.code, done.err) == (1, "")
    together, gemini, good = json.loads(done.out)["members"]
    assert together["error"] == "no key. Set the environment variable TOGETHER_API_KEY."
    assert "did you mean 'google_genai:x'" in gemini["error"]
    assert [one["seconds"] for one in (together, gemini)] == [None, None]
    assert good["ok"]
    assert loopback.models == ["q"]
    rows = [line for line in moa("doctor", *members).out.splitlines() if line.startswith("failed\t")]
    assert rows[0] == "failed\ttogether:p\tno key. Set the environment variable TOGETHER_API_KEY."


def test_the_usual_address_of_a_server_is_said(moa: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    done = moa("doctor", "-p", "ollama:x", "-a", "ollama:x", "--json")
    assert json.loads(done.out)["members"][0]["address"] == "http://127.0.0.1:9"


def test_it_says_what_is_wrong_with_the_mixture(moa: Command) -> None:
    done = moa("doctor", "-p", "openai:p", "-a", "openai:p", "--set", "num_layer=1")
    assert done.code == 2
    assert "did you mean 'num_layers'" in done.err
    # The installed packages are still listed.
    assert "langgraph " in done.out


def test_a_server_that_does_not_run_is_told_from_one_that_lacks_the_model(
    moa: Command, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.script("*", Reply("model 'x' not found", status=404))
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("LMSTUDIO_BASE_URL", loopback.url)
    done = moa("doctor", "-p", "vllm:x", "-a", "lmstudio:x", "--set", "max_retries=0", "--json")
    assert done.code == 1
    document = json.loads(done.out)
    assert {"VLLM_BASE_URL", "LMSTUDIO_BASE_URL"} <= set(document["variables"])
    stopped, without = document["members"]
    assert (stopped["address"], without["address"]) == ("http://127.0.0.1:9/v1", loopback.url)
    # The error already has the remedy.
    assert "check that the server runs" in stopped["error"]
    assert stopped["remedy"] is None
    assert without["remedy"] == "check the model's name and the address"


def test_an_address_without_v1_is_explained(moa: Command, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback.script("p", Reply("Not Found", status=404))
    monkeypatch.setenv("VLLM_BASE_URL", loopback.url.removesuffix("/v1"))
    done = moa("doctor", "-p", "vllm:p", "-a", "openai:q", "--set", "max_retries=0", "--json")
    failed, good = json.loads(done.out)["members"]
    assert failed["remedy"] == f"check the model's name; the address usually ends in /v1: {loopback.url}"
    assert good["ok"]


def test_a_key_that_is_not_sent_is_explained(
    moa: Command, loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TEST", "a-key-of-this-test")
    loopback.script("*", Reply("Incorrect API key provided.", status=401))
    (tmp_path / "moa.yaml").write_text(
        "proposers:\n"
        f"  - {{model: 'openai:p', base_url: '{loopback.url}'}}\n"
        f"  - {{model: 'openai:q', base_url: '{loopback.url}', settings: {{api_key: '${{OF_THE_TEST}}'}}}}\n"
        "aggregator: openai:p\nnum_layers: 1\nmax_retries: 0\n"
    )
    without, wrong, _ = json.loads(moa("doctor", "--json").out)["members"]
    assert without["remedy"] == (
        'no key is sent to this address; name the variable that has one: `settings: {api_key: "${NAME}"}`'
    )
    assert wrong["remedy"] == "check the key in the provider's environment variable, or in that of `api_key`"
