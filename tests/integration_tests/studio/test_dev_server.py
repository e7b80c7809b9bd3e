"""`langgraph dev` with the repository's `langgraph.json`, driven with the SDK as Studio does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration_tests.studio.conftest import ROOT, Served, asking
from tests.loopback import Reply

if TYPE_CHECKING:
    from langgraph_sdk.client import LangGraphClient

GRAPH = "moa"


def answer(state: Any) -> str:
    return str(state["messages"][-1]["content"])


def form(served: Served, assistant: str) -> Any:
    schemas: Any = served.sync_client.assistants.get_schemas(assistant)
    return schemas["context_schema"]["properties"]


def nodes(served: Served, assistant: str) -> list[str]:
    return [str(node["id"]) for node in served.sync_client.assistants.get_graph(assistant)["nodes"]]


def create(served: Served, context: Any) -> str:
    return str(served.sync_client.assistants.create(GRAPH, context=context)["assistant_id"])


def own(served: Served) -> str:
    """Return the id of the assistant that the server made from the configuration."""
    return next(str(each["assistant_id"]) for each in served.sync_client.assistants.search() if each["name"] == GRAPH)


def test_it_serves_the_configured_mixture(served: Served) -> None:
    state: Any = served.sync_client.runs.wait(None, GRAPH, input=asking("Hi"))
    assert answer(state) == "agg says: Hi"
    assert sorted(served.models.models) == ["agg", "p", "q"]
    assert served.models.calls("q")[0].system == "You doubt."
    assert [reference["text"] for reference in state["references"]] == ["p says: Hi", "q says: Hi"]
    assert not (ROOT / ".langgraph_api").exists()


def test_studio_is_shown_a_form_with_what_is_configured_and_where_it_counts(served: Served) -> None:
    fields = form(served, own(served))
    proposers = ["layer_1_proposer_1", "layer_1_proposer_2"]
    assert nodes(served, GRAPH) == ["__start__", *proposers, "merge_1", "aggregator", "__end__"]
    assert fields["proposers"]["default"] == ["openai:p", "sceptic"]
    assert fields["proposers"]["langgraph_nodes"] == proposers
    assert fields["aggregator"]["default"] == "openai:agg"
    assert fields["aggregator"]["langgraph_nodes"] == ["aggregator"]
    assert fields["num_layers"]["default"] == 1
    assert fields["prompt"]["default"] == "paper"
    assert fields["prompt"]["langgraph_nodes"] == ["aggregator"]
    assert [name for name, field in fields.items() if field.get("langgraph_type") == "prompt"] == [
        "prompt",
        "proposer_system_prompt",
        "aggregator_system_prompt",
    ]
    assert {"type": "array", "items": {"type": "string"}}.items() <= fields["proposers"].items()
    assert not [name for name in fields if "key" in name or "kwargs" in name]


def test_an_assistant_has_a_mixture_of_its_own(served: Served) -> None:
    context: Any = {"proposers": ["sceptic", "openai:r", {"model": "openai:p", "system_prompt": "You hope."}], "num_layers": 2}
    assistant = create(served, context)
    assert form(served, assistant)["proposers"]["default"] == ["sceptic", "openai:r", "openai:p"]
    assert [name for name in nodes(served, assistant) if name.startswith("layer_2")] == [
        "layer_2_proposer_1",
        "layer_2_proposer_2",
        "layer_2_proposer_3",
    ]
    state = served.sync_client.runs.wait(None, assistant, input=asking("Hi"))
    assert answer(state) == "agg says: Hi"
    assert sorted(served.models.models) == ["agg", "p", "p", "q", "q", "r", "r"]
    assert served.models.calls("q")[0].system == "You doubt."
    assert served.models.calls("p")[0].system == "You hope."


def test_a_run_changes_what_its_assistant_says(served: Served) -> None:
    assistant = create(served, {"proposers": ["openai:r"]})
    context: Any = {"aggregator": "openai:other", "prompt": "Mix them.", "temperature": 0.5, "max_tokens": 7}
    state = served.sync_client.runs.wait(None, assistant, input=asking("Hi"), context=context)
    assert answer(state) == "other says: Hi"
    first, last = served.models.requests
    assert (first.model, last.model) == ("r", "other")
    assert last.system == "Mix them.\n\nResponses from models:\n1. r says: Hi"
    assert first.body["temperature"] == last.body["temperature"] == 0.5
    assert first.body["max_completion_tokens"] == 7


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        ({"num_layer": 2}, "context: unknown field 'num_layer'; did you mean 'num_layers'?"),
        ({"api_key": "anything"}, "context: 'api_key' has a key. Contexts must not have keys"),
    ],
)
def test_a_wrong_context_is_an_error_that_says_what_to_do(served: Served, context: dict[str, Any], problem: str) -> None:
    with pytest.raises(Exception, match="ValueError") as caught:
        served.sync_client.runs.wait(None, GRAPH, input=asking("Hi"), context=context)
    assert problem in str(caught.value)
    assert not served.models.requests


def test_an_assistant_with_a_wrong_context_can_still_be_opened_and_mended(served: Served) -> None:
    assistant = create(served, {"proposers": ["nobody:x"]})
    assert form(served, assistant)["proposers"]["default"] == ["openai:p", "sceptic"]
    mended: Any = {"proposers": ["openai:r"]}
    served.sync_client.assistants.update(assistant, context=mended)
    assert answer(served.sync_client.runs.wait(None, assistant, input=asking("Hi"))) == "agg says: Hi"


def test_a_failure_is_told_in_words(served: Served) -> None:
    for model in ("p", "q"):
        served.models.script(model, Reply("our fault", status=400))
    with pytest.raises(Exception, match="ProposersFailedError: ") as caught:
        served.sync_client.runs.wait(None, GRAPH, input=asking("Hi"))
    assert "openai:p" in str(caught.value)


def test_a_thread_goes_on(served: Served) -> None:
    thread = served.sync_client.threads.create()["thread_id"]
    served.sync_client.runs.wait(thread, GRAPH, input=asking("Hi"))
    state: Any = served.sync_client.runs.wait(thread, GRAPH, input=asking("And you?"))
    assert [message["content"] for message in state["messages"]] == ["Hi", "agg says: Hi", "And you?", "agg says: And you?"]
    assert [message["content"] for message in served.models.calls("p")[1].messages] == ["Hi", "agg says: Hi", "And you?"]
    assert [reference["text"] for reference in state["references"]] == ["p says: And you?", "q says: And you?"]


async def test_tokens_events_and_references_stream(served: Served, client: LangGraphClient) -> None:
    told: dict[str, list[str]] = {}
    events, references = [], []
    async for part in client.runs.stream(None, GRAPH, input=asking("Hi"), stream_mode=["messages-tuple", "custom", "updates"]):
        data: Any = part.data
        if part.event == "messages":
            told.setdefault(data[1]["langgraph_node"], []).append(data[0]["content"])
        elif part.event == "custom":
            events.append(data["moa"])
        elif part.event == "updates":
            references += [each["text"] for update in data.values() for each in update.get("references", ())]
    assert {node: "".join(chunks) for node, chunks in told.items()} == {
        "layer_1_proposer_1": "p says: Hi",
        "layer_1_proposer_2": "q says: Hi",
        "aggregator": "agg says: Hi",
    }
    assert len([chunk for chunk in told["aggregator"] if chunk]) > 1
    assert sorted(events[:4]) == ["proposed", "proposed", "proposing", "proposing"]
    assert events[4:] == ["merged", "aggregating", "aggregated"]
    assert sorted(references) == ["p says: Hi", "q says: Hi"]


def test_models_on_this_machine_do_not_block_the_server(served: Served) -> None:
    """The development server rejects calls that would block its event loop."""
    small = "local:smollm2-135m"
    context: Any = {"proposers": [small], "aggregator": small, "max_tokens": 8}
    state: Any = served.sync_client.runs.wait(None, GRAPH, input=asking("What do bees make?"), context=context)
    assert [reference["status"] for reference in state["references"]] == ["ok"]
    assert answer(state)
    assert "Blocking" not in served.server.log
