"""The surfaces of a mixture: each takes the conversation in each mode and returns the result."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import openai
import yaml
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from typer.testing import CliRunner

from langchain_moa import ChatMoA, Mixture, MoAState, create_moa
from langchain_moa.cli.app import app
from langchain_moa.serving import make_app
from tests.integration_tests.matrix.agent_server import asked
from tests.integration_tests.matrix.panel import AGGREGATOR, OUTER, PROPOSERS
from tests.loopback.fixtures import forget_clients

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

    from langchain_core.runnables import Runnable
    from langgraph_sdk.client import SyncLangGraphClient

SYSTEM = "You count."
QUESTION = "What is 6 times 7?"
CONVERSATION: list[BaseMessage] = [
    SystemMessage(SYSTEM),
    HumanMessage("Hello {there}"),
    AIMessage("Hi."),
    HumanMessage(QUESTION),
]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result that a caller got.

    Attributes:
        text: The answer.
        streamed: The pieces it came in, where it was streamed.
        moa: The breakdown by call, where the surface has it.
        tokens: What the caller was told it cost, where the surface says so.
        state: The graph's state at the end, where the caller holds the graph.
    """

    text: str
    streamed: list[str] | None = None
    moa: Mapping[str, Any] | None = None
    tokens: int | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


def of_message(message: BaseMessage, **more: Any) -> Outcome:
    assert isinstance(message, AIMessage)
    usage = message.response_metadata.get("moa", {}).get("usage")
    tokens = None if usage is None else usage["total_tokens"]
    return Outcome(text=message.text, moa=message.response_metadata.get("moa"), tokens=tokens, **more)


def fields(**options: Any) -> dict[str, Any]:
    return {"proposers": PROPOSERS, "aggregator": AGGREGATOR, "num_layers": 2, "max_retries": 0, **options}


@dataclass(frozen=True)
class Surfaces:
    """Every surface, for one test.

    Args:
        run: Runs a coroutine; all of a test's in one loop, since clients of providers keep their connections.
        folder: Where files may be written.
    """

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    folder: Path

    def in_graph(self, options: Mapping[str, Any], mode: str, *, remember: bool) -> Outcome:
        graph = create_moa(Mixture(**fields(**options))).compile(checkpointer=InMemorySaver() if remember else None)
        return self._of_state(graph, mode)

    def in_subgraph(self, options: Mapping[str, Any], mode: str, *, remember: bool) -> Outcome:
        outer: Any = StateGraph(MoAState)
        outer.add_node("mixture", create_moa(Mixture(**fields(**options))).compile())
        outer.add_edge(START, "mixture")
        outer.add_edge("mixture", END)
        return self._of_state(outer.compile(checkpointer=InMemorySaver() if remember else None), mode)

    def in_agent(self, options: Mapping[str, Any], mode: str, *, remember: bool) -> Outcome:
        agent = create_agent(ChatMoA(**fields(**options)), tools=[], checkpointer=InMemorySaver() if remember else None)
        return self._of_state(agent, mode)

    def in_chat_model(self, options: Mapping[str, Any], mode: str) -> Outcome:
        return self._of_model(ChatMoA(**fields(**options)), mode)

    def in_nested_chat_model(self, options: Mapping[str, Any], mode: str) -> Outcome:
        inner = ChatMoA(**fields(**options))
        return self._of_model(ChatMoA(proposers=[inner], aggregator=OUTER, num_layers=1, max_retries=0), mode)

    def on_the_command_line(self, options: Mapping[str, Any]) -> Outcome:
        config = self.folder / "moa.yaml"
        config.write_text(yaml.safe_dump(fields(**options)), encoding="utf-8")
        # It has its own event loop, and LangChain keeps a client per address regardless of the loop of its connections.
        forget_clients()
        done = CliRunner().invoke(app, ["ask", "--config", str(config), "--system", SYSTEM, "--json", QUESTION])
        forget_clients()
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        return Outcome(text=said["answer"], moa=said["moa"], tokens=said["usage"]["total_tokens"])

    def at_the_endpoint(self, options: Mapping[str, Any], mode: str) -> Outcome:
        served = make_app(ChatMoA(**fields(**options)))

        async def ask() -> Outcome:
            transport = httpx.ASGITransport(app=served)
            http: Any = httpx.AsyncClient(transport=transport, base_url="http://moa")
            async with openai.AsyncOpenAI(base_url="http://moa/v1", api_key="none", http_client=http, max_retries=0) as client:
                roles = {"system": "system", "human": "user", "ai": "assistant"}
                messages: Any = [{"role": roles[each.type], "content": each.text} for each in CONVERSATION]
                if mode == "ainvoke":
                    whole = await client.chat.completions.create(model="moa", messages=messages)
                    tokens = _tokens_of_all_calls(whole)
                    return Outcome(text=whole.choices[0].message.content or "", tokens=tokens)
                options: Any = {"include_usage": True}
                stream = await client.chat.completions.create(
                    model="moa", messages=messages, stream=True, stream_options=options
                )
                pieces, tokens = [], None
                async for chunk in stream:
                    pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                    tokens = _tokens_of_all_calls(chunk) or tokens
                return Outcome(text="".join(pieces), streamed=pieces, tokens=tokens)

        outcome: Outcome = self.run(ask())
        return outcome

    def on_the_agent_server(self, client: SyncLangGraphClient, graph: str, mode: str, *, remember: bool) -> Outcome:
        state, pieces = asked(client, graph, CONVERSATION, stream=mode == "stream", remember=remember)
        return of_message(state["messages"][-1], streamed=pieces)

    def _of_model(self, model: ChatMoA, mode: str) -> Outcome:
        ways: dict[str, Callable[[], Outcome]] = {
            "invoke": lambda: of_message(model.invoke(CONVERSATION)),
            "ainvoke": lambda: of_message(self.run(model.ainvoke(CONVERSATION))),
            "batch": lambda: of_message(model.batch([CONVERSATION])[0]),
            "abatch": lambda: of_message(self.run(model.abatch([CONVERSATION]))[0]),
            "stream": lambda: _joined(list(model.stream(CONVERSATION))),
            "astream": lambda: _joined(self.run(_all(model.astream(CONVERSATION)))),
        }
        return ways[mode]()

    def _of_state(self, graph: Runnable[Any, Any], mode: str) -> Outcome:
        given = {"messages": CONVERSATION}
        thread: Any = {"configurable": {"thread_id": "1"}}
        modes: Any = {"stream_mode": ["messages", "values"], "subgraphs": True}
        if mode in {"stream", "astream"}:
            if mode == "stream":
                parts = list(graph.stream(given, thread, **modes))
            else:
                parts = self.run(_all(graph.astream(given, thread, **modes)))
            told = [part for _, kind, part in parts if kind == "messages"]
            state = [part for space, kind, part in parts if kind == "values" and not space][-1]
            answer = state["messages"][-1]
            pieces = [message.text for message, _ in told if message.id == answer.id and message.text]
            return of_message(answer, streamed=pieces, state=state)
        ways: dict[str, Callable[[], Any]] = {
            "invoke": lambda: graph.invoke(given, thread),
            "ainvoke": lambda: self.run(graph.ainvoke(given, thread)),
            "batch": lambda: graph.batch([given], thread)[0],
            "abatch": lambda: self.run(graph.abatch([given], thread))[0],
        }
        state = ways[mode]()
        return of_message(state["messages"][-1], state=state)


def _joined(chunks: list[Any]) -> Outcome:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return of_message(whole, streamed=[chunk.text for chunk in chunks if chunk.text])


async def _all(stream: Any) -> list[Any]:
    return [each async for each in stream]


def _tokens_of_all_calls(answer: Any) -> int | None:
    """Return the tokens in the breakdown of an answer of the endpoint; `usage` is the aggregator's own."""
    usage = answer.model_dump().get("moa", {}).get("usage")
    return None if usage is None else int(usage["total_tokens"])
