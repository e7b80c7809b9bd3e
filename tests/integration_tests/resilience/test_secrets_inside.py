"""Keys inside members of every kind are in nothing that the mixture writes, even if their server echoes its requests."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.embeddings import Embeddings
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnableSequence
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from pydantic import BaseModel, SecretStr

from langchain_moa import ChatMoA, MoAContext, MoAError, Proposer, create_moa, record_moa
from langchain_moa.data.components import components_of
from langchain_moa.data.redaction import secrets_of
from langchain_moa.filters.diverse import Diverse
from tests.integration_tests.resilience.test_secrets import everything
from tests.loopback import Reply
from tests.watch import Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable
    from langchain_openai import ChatOpenAI

    from langchain_moa.strategies.layer import ClosedLayer
    from tests.loopback import Loopback
    from tests.loopback.fixtures import Chat

KEY = "quite-ordinary-words-0123456789"
OF_USER = "user-name:pass-word-0123456789"


def graph_of(node: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("ask", node)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder.compile()


def chain(model: Any) -> Runnable[Any, Any]:
    return RunnableSequence(RunnableLambda(lambda messages: messages), model, StrOutputParser())


def asking(model: Any) -> Callable[[Any], dict[str, Any]]:
    def ask(state: Any) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    return ask


def calling(model: Any) -> Callable[[Any], Any]:
    def call(messages: Any) -> Any:
        return model.invoke(messages)

    return call


def made_by_name(model: ChatOpenAI, *, configurable: str = "temperature", api_key: str = KEY) -> Any:
    client: Any = {"http_client": model.http_client, "http_async_client": model.http_async_client, "max_retries": 0}
    return init_chat_model(
        "openai:m", configurable_fields=(configurable,), base_url=model.openai_api_base, api_key=api_key, **client
    )


SHAPES: dict[str, Callable[[Chat], Any]] = {
    "model": lambda chat: chat("m", api_key=KEY),
    "default headers": lambda chat: chat("m", default_headers={"Authorization": f"Bearer {KEY}"}),
    "address": lambda chat: chat("m", base_url=chat().openai_api_base.replace("://", f"://{OF_USER}@")),  # type: ignore[union-attr]
    "bound headers": lambda chat: chat("m").bind(extra_headers={"X-Api-Key": KEY}),
    "retry": lambda chat: chat("m", api_key=KEY).with_retry(stop_after_attempt=1),
    "chain": lambda chat: chain(chat("m", api_key=KEY)),
    "fallback": lambda chat: chat("m").with_fallbacks([chat("m", api_key=KEY)]),
    "fallback of a chain": lambda chat: chain(chat("m")).with_fallbacks([chain(chat("m", api_key=KEY))]),
    "parallel": lambda chat: RunnableParallel(one=chat("m", api_key=KEY)) | (lambda found: found["one"]),
    "function": lambda chat: RunnableLambda(calling(chat("m", api_key=KEY))),
    "configurable": lambda chat: chat("m", api_key=KEY).configurable_fields(temperature=ConfigurableField("temperature")),
    "alternatives": lambda chat: chat("m", api_key=KEY).configurable_alternatives(ConfigurableField("which"), other=chat("m")),
    "made by name": lambda chat: made_by_name(chat("m", api_key=KEY)),
    "agent": lambda chat: create_agent(chat("m", api_key=KEY), []),
    "graph": lambda chat: graph_of(asking(chat("m", api_key=KEY))),
    "graph of a chain": lambda chat: graph_of(
        (lambda state: state["messages"]) | chat("m", api_key=KEY) | (lambda message: {"messages": [message]})
    ),
    "mixture": lambda chat: ChatMoA(proposers=[chat("m", api_key=KEY)], aggregator=chat("m", api_key=KEY), num_layers=1),
    "graph of a mixture": lambda chat: create_moa([chat("m", api_key=KEY)], chat("m", api_key=KEY), num_layers=1).compile(),
}


def of_text(shown: Any) -> str:
    return shown if isinstance(shown, str) else f"{shown!r} {shown}"


def hold_no_key(**shown: Any) -> None:
    for where, what in shown.items():
        text = of_text(what)
        for key in (KEY, OF_USER, OF_USER.partition(":")[2], "dXNlci1uYW1lOnBhc3Mtd29yZC0wMTIzNDU2Nzg5"):
            assert key not in text, f"{where} shows {key}: ...{text[max(0, text.index(key) - 300) :][:600]}"


def tell_all(loopback: Loopback) -> None:
    """Have the server of `m` echo its request in its error, with the bare key as well, which must be known to be masked."""

    def tell(_: Any) -> Reply:
        headers = loopback.calls("m")[-1].headers
        return Reply(f"I was shown {headers['authorization'].rpartition(' ')[2]!r} in {dict(headers)}", status=401)

    loopback.script("m", tell)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_nothing_shows_a_key(
    loopback: Loopback, chat: Chat, caplog: pytest.LogCaptureFixture, shape: str, *, is_async: bool
) -> None:
    tell_all(loopback)
    member = SHAPES[shape](chat)
    proposers: list[Any] = [Proposer(member, name="tells"), chat("good")]
    graph = create_moa(proposers, member, num_layers=1).compile()
    question: Any = {"messages": [("user", "Hi")]}
    tree, seen = Tree(), list[Any]()
    config: Any = {"callbacks": [tree]}
    modes: Any = ["custom", "updates", "values", "debug"]

    async def read() -> None:
        if is_async:
            async for item in graph.astream(question, config, stream_mode=modes):
                seen.append(item)  # items before the error count
        for item in () if is_async else graph.stream(question, config, stream_mode=modes):
            seen.append(item)  # items before the error count

    with (
        caplog.at_level(logging.DEBUG, logger="langchain_moa"),
        record_moa() as runs,
        pytest.raises(MoAError, match="shown") as raised,
    ):
        await read()
    sent = " ".join(str(dict(request.headers)) for request in loopback.calls("m"))
    assert KEY in sent or "dXNlci1uYW1l" in sent, "the server was not shown what it is to tell"
    error = raised.value
    hold_no_key(
        seen=seen,
        error=error,
        attributes=vars(error),
        traceback="".join(traceback.format_exception(error)),
        log=caplog.text,
        report=[run.to_json() + run.to_html() + repr(run) for run in runs],
        described=ChatMoA(proposers=proposers, aggregator=member, num_layers=1).describe(),
        repr=repr(ChatMoA(proposers=proposers, aggregator=member, num_layers=1)),
        **{f"trace of {run.name}": everything(run) for run in tree.own_runs()},
    )
    assert "**********" in str(seen)


@pytest.mark.parametrize("how", ["configured", "as a header"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_no_key_that_a_call_brings_along_is_shown(loopback: Loopback, chat: Chat, how: str, *, is_async: bool) -> None:
    tell_all(loopback)
    by_name = made_by_name(chat("m"), configurable="api_key", api_key="test")
    member = by_name if how == "configured" else chat("m")
    graph = create_moa([member, chat("good")], member, num_layers=1).compile()
    seen = list[Any]()
    modes: Any = ["custom", "updates", "values"]
    config: Any = {"configurable": {"api_key": KEY} if how == "configured" else {}}
    context = MoAContext(model_kwargs={} if how == "configured" else {"extra_headers": {"X-Api-Key": KEY}})
    question: Any = {"messages": [("user", "Hi")]}

    async def read() -> None:
        if is_async:
            async for item in graph.astream(question, config, context=context, stream_mode=modes):
                seen.append(item)  # items before the error count
        for item in () if is_async else graph.stream(question, config, context=context, stream_mode=modes):
            seen.append(item)  # items before the error count

    with pytest.raises(MoAError, match="shown") as raised:
        await read()
    assert KEY in str([dict(request.headers) for request in loopback.calls("m")])
    trace = "".join(traceback.format_exception(raised.value))
    hold_no_key(seen=seen, error=raised.value, trace=trace)


class Telling(BaseModel, Embeddings):
    """Embeddings whose server echoes its requests."""

    key: SecretStr = SecretStr(KEY)
    headers: dict[str, str] = {"X-Api-Key": f"{KEY}-too"}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        msg = f"wrong key {self.key.get_secret_value()}, {self.headers}"
        raise ConnectionError(msg)

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def test_no_key_of_embeddings_is_shown(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    graph = create_moa(
        [chat("a"), chat("b")], chat("agg"), num_layers=1, reference_filters=[Diverse(keep=1, similarity=Telling())]
    )
    tree, seen = Tree(), list[Any]()
    with record_moa() as runs:
        question: Any = {"messages": [("user", "Hi")]}
        seen.extend(graph.compile().stream(question, {"callbacks": [tree]}, stream_mode=["custom", "updates", "values"]))
    hold_no_key(seen=seen, log=caplog.text, report=runs[0].to_json(), **{run.name: everything(run) for run in tree.own_runs()})
    assert "wrong key **********" in str(seen)


@pytest.mark.parametrize("role", ["reference_filters", "stop_when", "aggregation"])
def test_no_key_of_a_model_in_a_strategy_is_shown(loopback: Loopback, chat: Chat, role: str) -> None:
    tell_all(loopback)
    model = chat("m", api_key=KEY)

    def strategy(*_: Any) -> ClosedLayer:
        return model.invoke("Which?")  # type: ignore[return-value]  # it never returns

    options: Any = {role: [strategy] if role == "reference_filters" else strategy}
    graph = create_moa([chat("a")], chat("agg"), num_layers=2, **options).compile()
    tree = Tree()
    question: Any = {"messages": [("user", "Hi")]}
    with record_moa() as runs, pytest.raises(MoAError, match="shown") as raised:
        graph.invoke(question, {"callbacks": [tree]})
    hold_no_key(
        error=raised.value,
        traceback="".join(traceback.format_exception(raised.value)),
        report=runs[0].to_json(),
        **{run.name: everything(run) for run in tree.own_runs()},
    )


def test_the_keys_of_a_graph_on_a_server_are_known() -> None:
    remote = RemoteGraph("agent", url="http://127.0.0.1:1", api_key=KEY, headers={"Authorization": "Bearer another-0123456789"})
    assert {KEY, "another-0123456789"} <= {*secrets_of(remote)}


def test_what_is_endless_is_looked_into_once() -> None:
    around: dict[str, Any] = {"numbers": list(range(100_000)), "rows": [[str(place)] * 100 for place in range(400)]}
    around["around"] = [around, {"again": around}]
    assert secrets_of(around) == ()
    assert secrets_of([around, [{"api_key": KEY}]]) == (KEY,)
    assert len(list(components_of(around))) < 50_000
