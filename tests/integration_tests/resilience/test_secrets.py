"""Keys appear nowhere: not in reprs, errors, traces, events, metadata, states, logs or reports."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from langchain_moa import ChatMoA, Mixture, MoAError, Proposer, create_moa
from tests.integration_tests.resilience.asking import WAYS, ask
from tests.loopback import Reply
from tests.watch import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback

OF_THE_ENVIRONMENT = "sk-environment-0123456789abcdef"
OF_AN_OBJECT = "sk-object-0123456789abcdef"
OF_THE_SETTINGS = "settings-without-a-prefix-0123456789"
OF_THE_MIXTURE = "mixture-without-a-prefix-0123456789"
SECRETS = [OF_THE_ENVIRONMENT, OF_AN_OBJECT, OF_THE_SETTINGS, OF_THE_MIXTURE]


@pytest.fixture
def fields(loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Members with keys from every source, at a server that echoes the keys."""
    monkeypatch.setenv("OPENAI_API_KEY", OF_THE_ENVIRONMENT)
    client: dict[str, Any] = {**loopback.settings(), "max_retries": 0}
    settings = {"base_url": client["base_url"], "http_client": client["http_client"]}
    settings["http_async_client"] = client["http_async_client"]
    made = ChatOpenAI(model="object", api_key=SecretStr(OF_AN_OBJECT), max_retries=0, **settings)
    return {
        "proposers": [
            made,
            Proposer("openai:settings", settings={**settings, "api_key": OF_THE_SETTINGS, "max_retries": 0}),
            Proposer("openai:good", settings={**settings, "max_retries": 0}),
        ],
        "aggregator": Proposer("openai:agg", settings={**settings, "max_retries": 0}),
        "aggregator_fallbacks": [made.model_copy(update={"model_name": "second"})],
        "num_layers": 1,
    }


def tells(key: str) -> Reply:
    """A server that echoes what it was sent."""
    return Reply(f"wrong key: '{key}'; Authorization: Bearer {key}", status=401)


def hold_no_secret(**shown: Any) -> None:
    for where, what in shown.items():
        text = what if isinstance(what, str) else f"{what!r} {what}"
        found = [secret for secret in SECRETS if secret in text]
        assert not found, f"{where} shows {found}: ...{text[max(0, text.index(found[0]) - 300) :][:600]}"


def everything(run: Any) -> str:
    """Everything that a tracer was told about a run, except the models' texts."""
    return json.dumps(run.model_dump(exclude={"child_runs", "parent_run", "ls_client", "client"}), default=str)


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_shows_a_key(
    loopback: Loopback, fields: dict[str, Any], caplog: pytest.LogCaptureFixture, way: str
) -> None:
    loopback.script("object", tells(OF_AN_OBJECT))
    loopback.script("settings", tells(OF_THE_SETTINGS))
    loopback.script("agg", [Reply("the answer"), tells(OF_THE_MIXTURE)])
    loopback.script("second", tells(OF_AN_OBJECT))
    moa = ChatMoA(**fields, api_key=SecretStr(OF_THE_MIXTURE))
    hold_no_secret(
        repr=repr(moa),
        str=str(moa),
        described=moa.describe(),
        params=moa._identifying_params,
        serialized=json.dumps(moa.to_json(), default=str),
        dumped=moa.model_dump_json(exclude={"proposers", "aggregator", "aggregator_fallbacks"}),
        members=[repr(member) for member in (*moa.members.layers[0], moa.members.aggregator)],
        schema=moa.get_input_jsonschema(),
    )
    tree = Tree()
    with caplog.at_level(logging.DEBUG, logger="langchain_moa"):
        answer = await ask(moa, way, config={"callbacks": [tree]})
        hold_no_secret(answer=answer, metadata=answer.response_metadata)
        with pytest.raises(MoAError) as raised:
            await ask(moa, way, config={"callbacks": [tree]})
    error = raised.value
    hold_no_secret(
        error=error,
        attributes=vars(error),
        traceback="".join(traceback.format_exception(error)),
        pickled=pickle.dumps(error).decode("latin-1"),
        log=caplog.text,
        **{f"trace of {run.name}": everything(run) for run in tree.own_runs()},
    )


async def test_the_state_and_the_events_of_a_graph_show_no_key(loopback: Loopback, fields: dict[str, Any]) -> None:
    loopback.script("object", tells(OF_AN_OBJECT))
    loopback.script("settings", tells(OF_THE_SETTINGS))
    loopback.script("agg", tells(OF_THE_ENVIRONMENT))
    loopback.script("second", tells(OF_AN_OBJECT))
    saver = InMemorySaver()
    graph = create_moa(**fields).compile(checkpointer=saver)
    thread: Any = {"configurable": {"thread_id": "1"}}
    question: Any = {"messages": [("user", "Hi")]}
    seen: list[Any] = []

    async def read() -> None:
        async for item in graph.astream(question, thread, stream_mode=["custom", "updates", "values", "debug"]):
            seen.append(item)  # noqa: PERF401  # what came before the error counts

    with pytest.raises(MoAError):
        await read()
    hold_no_secret(
        seen=seen,
        state=await graph.aget_state(thread),
        history=[snapshot async for snapshot in graph.aget_state_history(thread)],
        stored=[saver.storage, saver.writes, saver.blobs],
        drawing=graph.get_graph().draw_mermaid(),
        nodes=graph.get_graph(xray=True).to_json(with_schemas=True),
    )
    assert "**********" in str(seen)


def test_errors_at_construction_show_no_key(fields: dict[str, Any]) -> None:
    wrong: list[dict[str, Any]] = [
        {"num_layers": 0},
        {"api_key": {"key": OF_THE_MIXTURE}},
        {"unknown": OF_THE_MIXTURE},
        {"retry": {"attempts": OF_THE_MIXTURE}},
        {"aggregator": Proposer("openai:agg", settings={"api_key": OF_THE_SETTINGS, "temperature": "hot"})},
    ]
    for update in wrong:
        with pytest.raises(ValueError, match=r"\w") as raised:
            Mixture(**{**fields, **update})
        hold_no_secret(error=raised.value, traceback="".join(traceback.format_exception(raised.value)))


PASSWORD = "pass-word-0123456789"


def test_no_password_in_an_address_is_shown(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {name: value for name, value in loopback.settings().items() if name != "model"}
    settings["base_url"] = settings["base_url"].replace("://", f"://me:{PASSWORD}@")
    members: list[Any] = [ChatOpenAI(model="a", **settings), Proposer("openai:b", settings=settings)]
    moa = ChatMoA(proposers=members, aggregator=members[0], num_layers=1)
    tree, cache = Tree(), InMemoryCache()
    set_llm_cache(cache)
    try:
        answer = moa.invoke("Hi", {"callbacks": [tree]})
        keys = list(cache._cache)
    finally:
        set_llm_cache(None)
    own = [key for key in keys if "aggregation" in str(key)]
    assert own, "the mixture's own answer was not cached"
    assert loopback.requests[0].headers["authorization"]
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moa.yaml").write_text(
        f"proposers: [{{model: 'openai:a', settings: {{base_url: 'http://me:{PASSWORD}@host/v1'}}}}]\naggregator: openai:a\n"
    )
    with pytest.raises(ValueError, match="base_url") as refused:
        Mixture.from_config("moa.yaml")
    shown = {
        "described": moa.describe(),
        "parameters": moa._identifying_params,
        "repr": repr(moa),
        "answer": answer,
        "cache": own,
        "refused": refused.value,
        **{f"trace of {run.name}": everything(run) for run in tree.own_runs()},
    }
    for where, what in shown.items():
        assert PASSWORD not in f"{what!r} {what}", where
    assert "://**********@" in str(moa.describe())
