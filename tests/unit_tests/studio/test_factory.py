"""Which graph a server gets for which context, tested without a server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.runtime import _ExecutionRuntime, _ReadRuntime  # ServerRuntime is their union, and no class

from langchain_moa import Mixture, Proposer
from langchain_moa.local import CATALOG
from langchain_moa.strategies.registry import name_of
from langchain_moa.studio import graph_factory
from langchain_moa.studio.factory import configured

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_moa import ClosedLayer
    from langchain_moa.studio.factory import Factory

NODES = ["layer_1_proposer_1", "layer_1_proposer_2", "merge_1", "aggregator"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-server-0123456789")
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    for name in ("CONFIG", "PRESET", "MODELS"):
        monkeypatch.delenv(f"LANGCHAIN_MOA_{name}", raising=False)


def mixture(**options: Any) -> Mixture:
    sceptic = Proposer("openai:q", name="sceptic", system_prompt="You doubt.", settings={"temperature": 0.1})
    return Mixture(**{"proposers": ["openai:p", sceptic], "aggregator": "openai:agg", "num_layers": 1, **options})


def run(factory: Factory, context: Any = None, settled: Any = None) -> Any:
    """Request a graph as a server does for a run."""
    runtime: Any = _ExecutionRuntime(access_context="threads.create_run", store=InMemoryStore(), context=context)
    return asyncio.run(factory({"configurable": settled or {}}, runtime))  # type: ignore[arg-type]  # it is a coroutine


def look(factory: Factory, settled: Any = None) -> Any:
    """Request a graph as a server does to show it."""
    runtime: Any = _ReadRuntime(access_context="assistants.read", store=InMemoryStore())
    return asyncio.run(factory({"configurable": settled or {}}, runtime))  # type: ignore[arg-type]  # it is a coroutine


def nodes(graph: Any) -> list[str]:
    return [name for name in graph.nodes if name != "__start__"]


def member(graph: Any, node: str) -> Proposer:
    spec = graph.nodes[node].bound._member.spec
    assert isinstance(spec, Proposer)
    return spec


def test_without_a_context_it_is_the_configured_mixture() -> None:
    factory = graph_factory(mixture())
    assert nodes(run(factory, {})) == NODES
    assert look(factory) is run(factory, {}) is run(factory, None)


def test_the_graph_for_a_context_is_built_once() -> None:
    factory = graph_factory(mixture())
    context = {"num_layers": 2, "prompt": "hardened"}
    graph = run(factory, context)
    assert run(factory, dict(reversed(context.items()))) is graph
    # The context that a server copies into its config, next to its own entries, is the same.
    assert look(factory, {**context, "thread_id": "1", "graph_id": "moa", "x-request-id": "2"}) is graph
    assert run(factory, {"num_layers": 3}) is not graph


def test_runs_that_begin_at_once_share_a_graph() -> None:
    made: list[Mixture] = []

    def make() -> Mixture:
        made.append(mixture())
        return made[-1]

    factory: Any = graph_factory(make)
    runtime: Any = _ExecutionRuntime(access_context="threads.create_run", store=InMemoryStore(), context={"num_layers": 2})

    async def main() -> list[Any]:
        return list(await asyncio.gather(*(factory({}, runtime) for _ in range(8))))

    assert len({id(graph) for graph in asyncio.run(main())}) == 1
    assert len(made) == 1


def test_a_cleared_form_changes_nothing() -> None:
    factory = graph_factory(mixture())
    assert run(factory, {"proposers": [], "aggregator": "", "prompt": "", "num_layers": None}) is run(factory, {})


def test_a_form_that_is_sent_as_it_was_shown_changes_nothing() -> None:
    factory = graph_factory(mixture(proposers=[Proposer("openai:p", settings={"temperature": t}) for t in (0.2, 0.8)]))
    fields = look(factory).get_context_jsonschema()["properties"]
    graph = run(factory, {name: field["default"] for name, field in fields.items() if "default" in field})
    assert [member(graph, node).settings["temperature"] for node in NODES[:2]] == [0.2, 0.8]


def strategies(graph: Any) -> list[Any]:
    """Return the aggregation, filters and stop condition of a served graph, with quorum and deadline."""
    made = graph.nodes[NODES[0]].bound.deps[0]
    filters = [name_of(each) for each in made.reference_filters]
    stop = None if made.stop_when is None else name_of(made.stop_when)
    return [name_of(made.strategies.aggregation), filters, stop, made.quorum, made.deadline]


def test_the_form_has_the_strategies_the_quorum_and_the_deadline() -> None:
    configured = {"reference_filters": [{"diverse": {"keep": 1}}], "stop_when": "agreement", "quorum": 0.5, "deadline": 60}
    factory = graph_factory(mixture(**configured, num_layers=2))
    fields = look(factory).get_context_jsonschema()["properties"]
    assert {"synthesize", "vote", "medoid"} <= set(fields["aggregation"]["enum"])
    shown = {name: fields[name]["default"] for name in ("aggregation", "reference_filters", "stop_when", "quorum", "deadline")}
    assert list(shown.values()) == ["synthesize", ["diverse"], "agreement", 0.5, 60]
    sent = run(factory, {**shown, "temperature": 1})
    assert strategies(sent) == ["synthesize", ["diverse"], "agreement", 0.5, 60]
    # A configured one keeps its arguments.
    assert sent.nodes[NODES[0]].bound.deps[0].reference_filters[0].keep == 1
    other = {"aggregation": "medoid", "reference_filters": ["none"], "stop_when": "none", "quorum": 1, "deadline": 5}
    assert strategies(run(factory, other)) == ["medoid", [], None, 1, 5]


def test_a_form_shows_no_strategy_of_the_operators_own() -> None:
    def own(layer: ClosedLayer) -> Any:
        return layer.references

    factory = graph_factory(mixture(reference_filters=[own]))
    fields = look(factory).get_context_jsonschema()["properties"]
    assert "default" not in fields["reference_filters"]
    graph = run(factory, {name: field["default"] for name, field in fields.items() if "default" in field})
    assert strategies(graph)[1] == ["own"]


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"aggregation": "votes"}, "aggregation: unknown name 'votes'; choose one of: "),
        ({"aggregation": {"verified": {"check": "os:system"}}}, "aggregation"),
        ({"reference_filters": [{"judge": {"model": "openai:z"}}]}, "reference_filters"),
        ({"stop_when": "os:system"}, "stop_when: unknown name"),
        ({"quorum": 0}, "quorum"),
        ({"quorum": True}, "quorum: true is not a number"),
        ({"num_layers": True}, "num_layers: true is not a number"),
        ({"deadline": -1}, "deadline"),
    ],
)
def test_a_context_names_strategies_without_arguments(context: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"context: {said}"):
        run(graph_factory(mixture()), context)


def test_members_keep_all_that_is_configured_of_them() -> None:
    factory = graph_factory(mixture())
    graph = run(factory, {"proposers": ["sceptic", {"model": "sceptic", "name": "optimist", "system_prompt": "You hope."}]})
    first, second = (member(graph, node) for node in NODES[:2])
    assert (first.name, first.system_prompt, first.settings) == ("sceptic", "You doubt.", {"temperature": 0.1})
    assert (second.name, second.system_prompt, second.settings) == ("optimist", "You hope.", {"temperature": 0.1})


def test_roles_for_all() -> None:
    graph = run(graph_factory(mixture()), {"proposer_system_prompt": "You are brief."})
    assert [member(graph, node).system_prompt for node in NODES[:2]] == ["You are brief."] * 2
    assert (
        look(graph_factory(mixture()), {"proposer_system_prompt": "You are brief."}).get_context_jsonschema()["properties"][
            "proposer_system_prompt"
        ]["default"]
        == "You are brief."
    )


@pytest.mark.parametrize(
    ("base", "context", "layers"),
    [
        ({}, {"proposers": [["openai:p"], ["openai:p", "openai:r"]]}, [1, 2]),
        ({}, {"num_layers": 3}, [2, 2, 2]),
        ({"proposers": [["openai:p"], ["openai:q", "openai:r"]]}, {}, [1, 2]),
        ({"proposers": [["openai:p"], ["openai:q", "openai:r"]]}, {"temperature": 0}, [1, 2]),
        ({"proposers": [["openai:p"], ["openai:q", "openai:r"]]}, {"proposers": ["openai:p"]}, [1, 1]),
    ],
)
def test_layers(base: dict[str, Any], context: dict[str, Any], layers: list[int]) -> None:
    own = {} if "proposers" in base else {"num_layers": 1}
    made = Mixture(**{"proposers": ["openai:p", "openai:q"], "aggregator": "openai:agg", **own, **base})
    graph = run(graph_factory(made), context)
    count = [sum(name.startswith(f"layer_{number}_") for name in graph.nodes) for number in range(1, len(layers) + 1)]
    assert count == layers
    assert f"merge_{len(layers) + 1}" not in graph.nodes


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        ({"num_layer": 2}, r"context: unknown field 'num_layer'; did you mean 'num_layers'\?"),
        ({"num_layers": 11}, "context: num_layers: input should be less than or equal to 10, not 11"),
        ({"proposers": ["openai:p"] * 33}, "at most 32"),
        ({"proposers": 3}, "context: proposers"),
        ({"proposers": [{"model": "openai:p", "settings": {"base_url": "x"}}]}, "settings: extra inputs are not permitted"),
        ({"aggregator": "together:x"}, "context: aggregator: this server does not offer 'together:x'; it has .*, openai:\\*"),
        ({"proposers": ["local:/etc/passwd"]}, "context: proposers: this server does not offer 'local:/etc/passwd'"),
        ({"proposers": ["config:moa.yaml"]}, "context: proposers: this server does not offer 'config:moa.yaml'"),
        ({"aggregator": "replay:a.jsonl#b"}, "context: aggregator: this server does not offer 'replay:a.jsonl#b'"),
        ({"proposers": ["local:x.gguf"]}, "context: proposers: this server does not offer 'local:x.gguf'"),
        ({"proposers": ["huggingface:/etc"]}, "context: proposers: this server does not offer 'huggingface:/etc'"),
        ({"proposers": ["huggingface:some/repo"]}, "context: proposers: this server does not offer"),
        ({"proposers": ["replay:/etc/passwd#m"]}, "context: proposers: this server does not offer"),
        ({"proposers": ["ollama:x"]}, "context: proposers: this server does not offer"),
        ({"proposers": [["openai:p"]], "num_layers": 2}, "leave num_layers out"),
    ],
)
def test_a_wrong_context_says_what_is_wrong(context: dict[str, Any], problem: str) -> None:
    factory = graph_factory(mixture())
    with pytest.raises(ValueError, match=problem):
        run(factory, context)
    # It must be shown so that it can be repaired.
    assert nodes(look(factory, context)) == NODES


@pytest.mark.parametrize(
    "context",
    [
        {"api_key": "anything"},
        {"openai_api_key": "anything"},
        {"foo": {"api_key": "anything"}},
        {"foo": [{"headers": {"X-Auth-Key": "anything"}}]},
        {"prompt": "Use sk-abcdefghij0123456789xyz for it."},
        {"proposers": [{"model": "openai:p", "system_prompt": "The key is sk-abcdefghij0123456789xyz."}]},
    ],
)
def test_keys_are_refused_and_never_repeated(context: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Contexts must not have keys") as caught:
        run(graph_factory(mixture()), context)
    assert "anything" not in str(caught.value)
    assert "sk-a" not in str(caught.value)


def test_a_key_of_the_server_is_never_shown_nor_lent_to_other_providers() -> None:
    factory = graph_factory(mixture(api_key="sk-in-the-code-0123456789"))
    graph = look(factory)
    shown = json.dumps([graph.get_context_jsonschema(), graph.get_graph().to_json()], default=str)
    assert "0123456789" not in shown
    with pytest.raises(ValueError, match=r"does not offer .openai:x.; it has openai:agg, openai:p, sceptic"):
        run(factory, {"aggregator": "openai:x"})


@pytest.mark.parametrize("said", ["argument", "environment"])
def test_the_models_of_contexts_can_be_limited(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if said == "environment":
        monkeypatch.setenv("LANGCHAIN_MOA_MODELS", "openai:cheap-*, openai:r")
    factory = graph_factory(mixture(), models=["openai:cheap-*", "openai:r"] if said == "argument" else None)
    assert run(factory, {"proposers": ["openai:cheap-1", "openai:r", "sceptic"]})
    with pytest.raises(ValueError, match=r"does not offer 'openai:dear'; it has .*openai:cheap-\*, openai:r"):
        run(factory, {"aggregator": "openai:dear"})


def test_models_that_are_loaded_on_the_server_have_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGCHAIN_MOA_CACHE", str(tmp_path))
    (tmp_path / CATALOG["smollm2-135m"].file).write_bytes(b"GGUF")
    everything = graph_factory(mixture(), models=["*"])
    with pytest.raises(ValueError, match="does not offer 'local:smollm2-135m'"):
        run(everything, {"aggregator": "local:smollm2-135m"})
    named = graph_factory(mixture(), models=["*", "local:*"])
    assert run(named, {"aggregator": "local:smollm2-135m"})
    for path in ("local:/etc/passwd", "local:x.gguf", "local:../x", "local:~/x"):
        with pytest.raises(ValueError, match="does not offer"):
            run(named, {"aggregator": path})
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="does not offer 'openai:x'"):
        run(everything, {"aggregator": "openai:x"})


def test_a_missing_package_is_told_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(*_: object) -> Any:
        msg = "Initializing ChatGroq requires the langchain-groq package. Please install it with `pip install langchain-groq`"
        raise ImportError(msg)

    monkeypatch.setattr("langchain_moa.studio.served.Served.graph", missing)
    with pytest.raises(ValueError, match="pip install langchain-groq"):
        run(graph_factory(mixture()), {"num_layers": 1})


def test_a_mixture_without_an_aggregator_is_served() -> None:
    graph = look(graph_factory(Mixture(proposers=["openai:p", "openai:q"], num_layers=1, aggregation="vote")))
    fields = graph.get_context_jsonschema()["properties"]
    assert "default" not in fields["aggregator"]
    assert fields["aggregator"]["langgraph_nodes"] == ["vote"]


def test_where_the_mixture_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "proposers: [openai:{}]\naggregator: openai:agg\n"
    (tmp_path / "moa.yaml").write_text(text.format("here"), encoding="utf-8")
    assert configured().members.layers[0][0].id == "openai:here"
    (tmp_path / "named.yaml").write_text(text.format("named"), encoding="utf-8")
    monkeypatch.setenv("LANGCHAIN_MOA_CONFIG", "named.yaml")
    assert configured().members.layers[0][0].id == "openai:named"
    monkeypatch.setenv("LANGCHAIN_MOA_PRESET", "openai")
    with pytest.raises(ValueError, match="set either LANGCHAIN_MOA_CONFIG or LANGCHAIN_MOA_PRESET, not both"):
        configured()
    monkeypatch.delenv("LANGCHAIN_MOA_CONFIG")
    assert configured().members.aggregator.id == "openai:gpt-6.1-sol"


def test_a_configuration_that_was_wrong_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text("proposers: []\n", encoding="utf-8")
    factory = graph_factory()
    with pytest.raises(ValueError, match="there are no proposers"):
        run(factory, {})
    (tmp_path / "moa.yaml").write_text("proposers: [openai:p]\naggregator: openai:agg\n", encoding="utf-8")
    assert run(factory, {})
