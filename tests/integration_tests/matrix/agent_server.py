"""An Agent Server with a graph for each case: `langgraph dev`, called with its SDK."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langgraph_sdk import get_sync_client

from tests.integration_tests.studio.dev_server import DevServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from langchain_core.messages import BaseMessage
    from langgraph_sdk.client import SyncLangGraphClient

_SERVED = """
import json
from pathlib import Path

from langchain_moa import Mixture
from langchain_moa.studio import graph_factory

for name, fields in json.loads(Path("mixtures.json").read_text()).items():
    globals()[name] = graph_factory(lambda fields=fields: Mixture(**fields))
"""


@contextmanager
def agent_server(folder: Path, mixtures: Mapping[str, Any], *, models_at: str) -> Iterator[SyncLangGraphClient]:
    """Run a server and return a client.

    Args:
        folder: Where the server's files go.
        mixtures: The fields of each mixture, by the name of its graph.
        models_at: The address of the models.
    """
    (folder / "served.py").write_text(_SERVED, encoding="utf-8")
    (folder / "mixtures.json").write_text(json.dumps(mixtures), encoding="utf-8")
    graphs = {name: f"./served.py:{name}" for name in mixtures}
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"dependencies": ["."], "graphs": graphs}), encoding="utf-8")
    env = {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": models_at}
    with DevServer(folder, config=config, env=env) as server, get_sync_client(url=server.url) as client:
        yield client


def asked(
    client: SyncLangGraphClient, graph: str, conversation: Sequence[BaseMessage], *, stream: bool, remember: bool
) -> tuple[Mapping[str, Any], list[str] | None]:
    """Ask a graph, and return its final state and the streamed pieces of the answer.

    Args:
        client: Who asks.
        graph: The graph's name.
        conversation: What it is asked.
        stream: Whether to have the answer in pieces; without, there are none.
        remember: Whether to ask on a thread.
    """
    given: Any = {"messages": [{"type": message.type, "content": message.content} for message in conversation]}
    thread: Any = client.threads.create()["thread_id"] if remember else None
    if not stream:
        return _of_wire(client.runs.wait(thread, graph, input=given)), None
    told, state = [], {}
    for part in client.runs.stream(thread, graph, input=given, stream_mode=["messages-tuple", "values"]):
        data: Any = part.data
        if part.event == "messages":
            told.append(data[0])
        elif part.event == "values":
            state = data
        assert part.event != "error", data
    answer = state["messages"][-1]["id"]
    return _of_wire(state), [message["content"] for message in told if message["id"] == answer and message["content"]]


def _of_wire(state: Any) -> Mapping[str, Any]:
    """Return a state with its answer converted back to a message."""
    last = AIMessage(**{key: value for key, value in state["messages"][-1].items() if key != "type"})
    return {**state, "messages": [last]}
