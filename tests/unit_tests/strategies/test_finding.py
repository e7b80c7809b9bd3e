"""Strategies by name, in YAML, and in a mixture's description."""

from __future__ import annotations

import errno
import pickle
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END

from langchain_moa import ChatMoA, ClosedLayer, Mixture, create_moa, filters
from langchain_moa.aggregation.medoid import Medoid
from langchain_moa.aggregation.select import Select
from langchain_moa.aggregation.vote import Vote
from langchain_moa.filters.diverse import Diverse
from langchain_moa.filters.judge import Judge
from langchain_moa.stopping.agreement import Agreement
from langchain_moa.strategies import AnswerGraph, Model, strategy
from langchain_moa.strategies.registry import name_of, names, strategy_class
from tests.inquiries import turn

MODEL = FakeListChatModel(responses=["7"])
PACKAGES = ("aggregation", "filters", "stopping")
# Arguments without a default, since there is no sensible one.
NEEDS: dict[str, Any] = {"verified": {"verified": {"check": lambda text, question: "7" in text + question}}}
ALL = [(package, name) for package in PACKAGES for name in names(f"langchain_moa.{package}")]


def mixture(**fields: Any) -> Mixture:
    return Mixture(**{"proposers": [MODEL, MODEL], "aggregator": MODEL, **fields})


def refused(**fields: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is what the tests look at
        mixture(**fields)
    return str(caught.value)


@pytest.mark.parametrize(("package", "name"), ALL)
def test_every_module_offers_one_class_of_its_name_that_shows_how_it_is_used(package: str, name: str) -> None:
    module = import_module(f"langchain_moa.{package}.{name}")
    cls = strategy_class(f"langchain_moa.{package}", name)
    assert module.__all__ == [cls.__name__]
    assert "```python" in (cls.__doc__ or "")
    assert cls.__name__.lower() == name.replace("_", "")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_page_shows_whatever_there_is(package: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "strategies.md").read_text(encoding="utf-8")
    options = page.partition(f"::: langchain_moa.{package}\n")[2].partition("\n:::")[0]
    assert "filters: public\n" in options
    assert "show_submodules: true\n" in options


def test_adding_one_is_adding_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "__path__", [*filters.__path__, str(tmp_path)])
    (tmp_path / "first_ones.py").write_text(
        "from langchain_moa.strategies import strategy\n\n\n@strategy\nclass FirstOnes:\n    keep: int = 1\n\n"
        "    def __call__(self, layer):\n        return layer.references[: self.keep]\n"
    )
    (tmp_path / "nothing.py").write_text("")
    try:
        made = mixture(reference_filters=[{"first-ones": {"keep": 1}}], num_layers=1)
        assert name_of(made.strategies.filters[0]) == "first_ones"
        assert made.describe()["filters"][0]["keep"] == 1
        state = create_moa(made).compile().invoke(turn("6 * 7"))
        assert state["passed_on"] == [[1]]
        assert "choose one of: diverse, duplicates, first_ones, " in refused(reference_filters="second_ones")
        assert "langchain_moa.filters.nothing has no class Nothing" in refused(reference_filters="nothing")
    finally:
        for module in ("first_ones", "nothing"):
            sys.modules.pop(f"langchain_moa.filters.{module}", None)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_holds_what_its_name_says_and_works_by_default(package: str) -> None:
    field = {"aggregation": "aggregation", "filters": "reference_filters", "stopping": "stop_when"}[package]
    for name in names(f"langchain_moa.{package}"):
        made = mixture(**{field: NEEDS.get(name, name)})
        strategies = made.strategies
        found = {"aggregation": strategies.aggregation, "filters": strategies.filters[-1:], "stopping": strategies.stop_when}
        assert name_of(found[package][0] if package == "filters" else found[package]) == name
        assert create_moa(made).compile().invoke(turn("6 * 7"))["messages"][-1].text


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("vote", Vote()),
        ("Vote", Vote()),
        ({"vote": None}, Vote()),
        ({"vote": {"extract": "number"}}, Vote(extract="number")),
        (Vote, Vote()),
        (Vote(extract="letter"), Vote(extract="letter")),
    ],
)
def test_a_name_a_mapping_a_class_and_an_object_say_the_same(given: Any, found: Vote) -> None:
    assert mixture(aggregation=given).strategies.aggregation == found


def test_one_filter_may_stand_without_a_list() -> None:
    assert mixture(reference_filters="diverse").strategies.filters == (Diverse(),)
    assert mixture(reference_filters={"diverse": {"keep": 2}}).strategies.filters == (Diverse(keep=2),)
    assert mixture(reference_filters=["diverse", {"judge": None}]).strategies.filters == (Diverse(), Judge())
    assert mixture().strategies.filters == ()
    assert mixture().strategies.stop_when is None


def test_errors_name_the_field_the_value_and_the_remedy() -> None:
    assert "aggregation\n  Value error, unknown name 'voting'; choose one of: analyze, " in refused(aggregation="voting")
    assert "vote: extract: unknown extractor 'n'" in refused(aggregation={"vote": {"extract": "n"}})
    assert "vote: unknown argument 'extrac'; choose one of: extract" in refused(aggregation={"vote": {"extrac": "number"}})
    assert "synthesize: unknown argument 'seed'; it has none" in refused(aggregation={"synthesize": {"seed": 1}})
    assert "with one key, the strategy's name, and its arguments as the value; this one has 2" in refused(
        aggregation={"vote": {}, "select": {}}
    )
    assert "vote: give its arguments as a mapping, as in {vote: {argument: value}}, not 'number'" in refused(
        aggregation={"vote": "number"}
    )
    assert "with add_to, not int" in refused(aggregation=3)
    assert "reference_filters\n  Value error, item 2: unknown name 'vote'; choose one of: " in refused(
        reference_filters=["diverse", "vote"]
    )
    assert "a callable (layer) or a Runnable, not int" in refused(stop_when=3)


def test_a_missing_aggregator_is_an_error_where_somebody_asks_it() -> None:
    asking: list[dict[str, Any]] = [
        {},
        {"aggregation": "select"},
        {"aggregation": {"analyze": {"model": MODEL}}},
        {"aggregation": "vote", "reference_filters": ["moderator"]},
        {"aggregation": "vote", "stop_when": "residual"},
    ]
    for fields in asking:
        assert "aggregator is missing, and " in refused(aggregator=None, **fields)
    others: list[dict[str, Any]] = [
        {"aggregation": "vote"},
        {"aggregation": {"select": {"model": MODEL}}},
        {"aggregation": lambda messages, references: references[0]},
        {"aggregation": "medoid", "reference_filters": [{"judge": {"model": MODEL}}], "stop_when": "agreement"},
    ]
    for fields in others:
        assert mixture(aggregator=None, **fields).describe()["aggregator"] is None


def test_a_strategys_own_model_is_checked_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = refused(aggregation={"select": {"model": "openai:gpt-4.1"}})
    assert (
        "aggregation: select: cannot make the model 'openai:gpt-4.1': no key. Set the environment variable OPENAI_API_KEY"
        in said
    )


def test_a_mixture_whose_aggregation_writes_nothing_refuses_tools_and_schemas() -> None:
    moa = ChatMoA(proposers=[MODEL], aggregation="vote", num_layers=1)
    with pytest.raises(ValueError, match="the aggregation 'vote' does not write an answer itself and cannot use tools"):
        moa.bind_tools([])
    with pytest.raises(ValueError, match="the aggregation 'vote' does not write an answer itself and cannot use a schema"):
        moa.with_structured_output({"title": "x", "type": "object", "properties": {}})


def test_yaml(tmp_path: Path) -> None:
    file = tmp_path / "moa.yaml"
    file.write_text(
        """
        proposers: [openai:gpt-4.1-mini, openai:gpt-4.1-nano]
        aggregator: openai:gpt-4.1
        num_layers: 3
        aggregation: {select: {model: {model: openai:gpt-4.1, name: ranker}, seed: 3}}
        reference_filters:
          - duplicates
          - diverse: {keep: 2}
        stop_when: {agreement: {threshold: 0.5, extract: number}}
        """
    )
    made = Mixture.from_config(file, api_key="test")
    select = made.strategies.aggregation
    assert (type(select), select.seed, made.member(select.model).name) == (Select, 3, "ranker")
    assert made.strategies.filters[1] == Diverse(keep=2)
    assert made.strategies.stop_when == Agreement(threshold=0.5, extract="number")
    edges = {(edge.source, edge.target, edge.conditional) for edge in create_moa(made).compile().get_graph().edges}
    assert ("merge_1", "select", True) in edges
    assert ("merge_3", "select", False) in edges


def own(messages: Any, references: Any) -> Any:
    return references[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"aggregation": "vote"}, {"aggregation": "medoid"}),
        ({"aggregation": "vote"}, {"aggregation": {"vote": {"extract": "number"}}}),
        ({"aggregation": own}, {"aggregation": lambda messages, references: references[0]}),
        ({"aggregation": {"select": {"model": MODEL}}}, {"aggregation": "select"}),
        ({"aggregation": {"vote": {"extract": str.upper}}}, {"aggregation": {"vote": {"extract": str.lower}}}),
        (
            {"aggregation": Medoid(similarity=DeterministicFakeEmbedding(size=2))},
            {"aggregation": Medoid(similarity=DeterministicFakeEmbedding(size=3))},
        ),
        ({"reference_filters": ["diverse"]}, {"reference_filters": [{"diverse": {"keep": 2}}]}),
        ({"reference_filters": ["diverse", "judge"]}, {"reference_filters": ["judge", "diverse"]}),
        ({"stop_when": "agreement"}, {}),
        ({"stop_when": RunnableLambda(lambda _: True)}, {"stop_when": RunnableLambda(lambda _: False)}),
    ],
)
def test_a_description_tells_mixtures_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    first = mixture(**one)
    assert first.describe() == first.describe() == mixture(**one).describe()
    assert first.describe() != mixture(**other).describe()


def test_a_description_has_no_secrets() -> None:
    made = mixture(aggregation={"select": {"model": {"model": "openai:gpt-4.1", "settings": {"api_key": "sk-secret-1234"}}}})
    assert "sk-secret-1234" not in repr(made.describe())
    assert "sk-secret-1234" not in repr(made)


def test_a_mixture_with_strategies_can_be_pickled_and_copied() -> None:
    moa = ChatMoA(
        proposers=[MODEL],
        aggregator=MODEL,
        aggregation={"select": {"model": MODEL}},
        reference_filters=["duplicates", Judge(min_score=7)],
        stop_when="agreement",
    )
    again = pickle.loads(pickle.dumps(moa))  # noqa: S301  # our own
    assert again.strategies.filters == moa.strategies.filters
    assert again.invoke("6 * 7").text == "7"
    changed = moa.model_copy(update={"aggregation": "vote"})
    assert changed.strategies.aggregation == Vote()
    assert moa.strategies.aggregation == moa.aggregation
    assert changed.invoke("6 * 7").response_metadata["moa"]["selected"]["by"] == "vote"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"num_layers": 1, "stop_when": "agreement"},
            "'agreement' has no effect in a mixture with 1 layer; it needs at least 2",
        ),
        ({"num_layers": 1, "stop_when": own}, "'own' has no effect in a mixture with 1 layer; it needs at least 2"),
        ({"stop_when": "residual"}, "'residual' has no effect in a mixture with 2 layers; it needs at least 3"),
        ({"num_layers": 3, "stop_when": {"residual": {"layers": 2}}}, "with 3 layers; it needs at least 4"),
        ({"num_layers": 3, "stop_when": "residual"}, ""),
        ({"num_layers": 2, "stop_when": own}, ""),
        ({"num_layers": 1}, ""),
    ],
)
def test_a_condition_that_can_never_end_the_layers_is_told(
    fields: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    mixture(**fields)
    assert (said in caplog.text) if said else (caplog.text == "")


def test_the_models_among_the_settings_are_the_ones_that_it_calls() -> None:
    @strategy
    class Asking:
        first: Model = None
        second: Model = None
        seed: int = 0

        def __call__(self, layer: ClosedLayer) -> Any:
            return layer.references

    made = Asking(first=MODEL)
    assert made.models == (made.first, None)  # type: ignore[attr-defined]  # the decorator adds it
    assert "aggregator is missing, and reference_filters: Asking asks it" in refused(
        aggregator=None, aggregation="vote", reference_filters=[made]
    )
    assert mixture(reference_filters=[made]).member(made.first).runnable is MODEL


class Twice:
    """A user's aggregation with two nodes of its own."""

    def add_to(self, graph: AnswerGraph) -> str:
        graph.add_node("draw_breath", lambda state: {})
        graph.add_node("speak", lambda state: {"messages": [("ai", state["merged"][0]["text"])]})
        graph.add_edge("draw_breath", "speak")
        graph.add_edge("speak", END)
        return "draw_breath"


def test_an_object_adds_its_own_nodes() -> None:
    graph = create_moa([MODEL], aggregation=Twice(), num_layers=2, stop_when=lambda layer: True).compile()
    edges = {(edge.source, edge.target, edge.conditional) for edge in graph.get_graph().edges}
    assert {("merge_1", "draw_breath", True), ("merge_2", "draw_breath", False), ("draw_breath", "speak", False)} <= edges
    assert graph.invoke(turn("6 * 7"))["messages"][-1].text == "7"


def test_strategies_are_found_though_their_folder_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many_files(folder: object) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.listdir", too_many_files)
    monkeypatch.setattr("pathlib.Path.iterdir", too_many_files)
    assert strategy_class("langchain_moa.aggregation", "medoid") is Medoid
    with pytest.raises(OSError, match="Too many open files"):
        strategy_class("langchain_moa.aggregation", "absent")
