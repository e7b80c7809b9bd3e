"""Each test names the private or undocumented name of another package that has changed if the test fails."""

import importlib
import inspect
import operator
from typing import Any
from uuid import uuid4

import pytest
from langchain.chat_models import init_chat_model
from langchain_core import exceptions
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config
from langgraph.graph import END, START, StateGraph
from langgraph.pregel._messages import StreamMessagesHandler
from typing_extensions import TypedDict

from langchain_moa import _compat
from langchain_moa.data import errors
from langchain_moa.engine.tracing import handlers_of


class Outer(TypedDict):
    value: int


def test_a_node_reads_a_channel_by_the_private_key_in_configurable() -> None:
    class State(Outer):
        hidden: int

    def node(state: Outer, config: RunnableConfig) -> dict[str, int]:
        assert "hidden" not in state
        assert _compat.read_channel(config, "unknown") is None
        return {"value": _compat.read_channel(config, "hidden")}

    builder = StateGraph(State)
    builder.add_node("node", node, input_schema=Outer)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    found = builder.compile().invoke({"value": 1, "hidden": 2})
    assert found["value"] == 2, "LangGraph gives nodes no '__pregel_read' in configurable any more"
    assert _compat.read_channel(None, "hidden") is None


class Recorder(BaseCallbackHandler, _compat.StreamingCallbackHandler[Any]):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
        return output

    def tap_output_iter(self, run_id: Any, output: Any) -> Any:
        return output

    def on_llm_new_token(self, token: str, **_: Any) -> None:  # type: ignore[override]
        self.tokens.append(token)


def test_a_streaming_handler_makes_invoke_stream() -> None:
    recorder = Recorder()
    FakeListChatModel(responses=["abc"]).invoke("?", {"callbacks": [recorder]})
    assert [token for token in recorder.tokens if token] == ["a", "b", "c"], (
        "langchain-core does not look for _StreamingCallbackHandler any more"
    )


@pytest.mark.filterwarnings("ignore:astream_log is deprecated")  # users may call it as long as it is there
async def test_the_handlers_that_stream_to_users_are_known() -> None:
    seen: list[BaseCallbackHandler] = []

    async def look(_: str, config: RunnableConfig) -> str:
        seen.extend(handlers_of(config["callbacks"]))
        return "x"

    runnable: Any = RunnableLambda(look)
    async for _ in runnable.astream_events("?", version="v2"):
        pass
    async for _ in runnable.astream_log("?"):
        pass
    assert len(seen) == 2
    assert all(map(_compat.streams_tokens, seen)), "the tracers of astream_events or astream_log have other base classes"
    assert issubclass(StreamMessagesHandler, _compat.StreamingCallbackHandler)
    assert not _compat.streams_tokens(BaseCallbackHandler())


def test_the_inherited_context_holds_the_config_and_the_handlers() -> None:
    def tags(_: str) -> list[str]:
        return ensure_config()["tags"]

    def hidden_tags(_: str) -> list[str]:
        tokens = [(variable, variable.set(None)) for variable in _compat.inherited_context()]
        model.invoke("?")
        try:
            return list(ensure_config()["tags"])
        finally:
            for variable, token in tokens:
                variable.reset(token)

    model = FakeListChatModel(responses=["abc"])
    config: RunnableConfig = {"tags": ["outer"]}
    assert RunnableLambda(tags).invoke("?", config) == ["outer"]
    with get_usage_metadata_callback() as usage:
        assert any(variable.get() is usage for variable in _compat.inherited_context()), (
            "langchain-core keeps the handlers of the context elsewhere than in _configure_hooks"
        )
        assert RunnableLambda(hidden_tags).invoke("?", config) == [], (
            "langchain-core keeps the config of the running code elsewhere than in var_child_runnable_config"
        )


def test_an_id_made_from_a_run_id_is_known() -> None:
    answer = FakeListChatModel(responses=["abc"]).invoke("?")
    assert _compat.is_run_id(answer.id), "LangChain's ids begin with another prefix than LC_ID_PREFIX"
    assert not _compat.is_run_id("chatcmpl-1")
    assert not _compat.is_run_id(None)


def openai_model() -> BaseChatModel:
    model: BaseChatModel = init_chat_model("openai:gpt-4o", api_key="x", temperature=0.5)
    return model


def test_a_model_says_its_provider_its_name_its_parameters_and_its_type() -> None:
    params = _compat.tracing_params(openai_model())
    assert (params.get("ls_provider"), params.get("ls_model_name")) == ("openai", "gpt-4o")
    assert _compat.identifying_params(openai_model())["temperature"] == 0.5
    assert _compat.llm_type(openai_model()) == "openai-chat"
    assert _compat.llm_type(RunnableLambda(str)) is None


def test_an_async_side_is_known_by_the_methods_of_the_class() -> None:
    class OnlySync(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "only-sync"

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    assert _compat.has_async_methods(openai_model())
    assert not _compat.has_async_methods(OnlySync())


def test_the_settings_of_a_configurable_model_are_found() -> None:
    model = init_chat_model("openai:gpt-4o", max_retries=0, configurable_fields=("temperature",))
    settings = _compat.default_settings(model)
    assert settings is not None, "init_chat_model keeps its settings elsewhere than in _default_config"
    assert settings["max_retries"] == 0
    assert _compat.default_settings(RunnableLambda(str)) is None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_scope_is_entered_around_a_call_with_its_run_manager(*, stream: bool, is_async: bool) -> None:
    seen: list[Any] = []

    class Scoped(_compat.ScopedChatModel, FakeListChatModel):
        def scope(self, run_manager: Any) -> Any:
            seen.append(run_manager.run_id)
            return super().scope(run_manager)

    model = Scoped(responses=["abc"])
    run_id = uuid4()
    config: Any = {"run_id": run_id, "callbacks": [Recorder()] if stream else []}
    answer = await model.ainvoke("?", config) if is_async else model.invoke("?", config)
    assert answer.text == "abc"
    assert seen == [run_id], "LangChain does not call _generate_with_cache with the run manager any more"


def test_the_providers_are_those_that_init_chat_model_names() -> None:
    with pytest.raises(ValueError, match="provider") as refused:
        init_chat_model("a", model_provider="nope")
    known = _compat.provider_packages()
    assert "openai" in known
    assert all(provider in str(refused.value) for provider in known), "init_chat_model keeps its providers elsewhere"


@pytest.mark.parametrize(
    ("name", "provider"), [("openai:a", "openai"), ("gpt-4o", "openai"), ("opnai:a", None), ("smollm2-135m", None)]
)
def test_the_provider_of_a_name_is_the_one_that_init_chat_model_takes(name: str, provider: str | None) -> None:
    assert _compat.provider_of(name) == provider
    if provider is None:
        with pytest.raises(ValueError, match="Unable to infer"):
            init_chat_model(name)
    else:
        model = init_chat_model(name, api_key="x")
        assert _compat.tracing_params(model).get("ls_provider") == provider


async def test_the_copy_of_an_openai_model_has_the_client_of_the_loop() -> None:
    made: list[Any] = []

    def client(_: Any, make: Any) -> Any:
        made.append(make())
        return made[-1]

    model: Any = openai_model()
    copy: Any = _compat.copy_for_loop(model, client, made.append)
    assert copy is not model
    assert operator.attrgetter("_client")(copy.root_async_client) is made[0]
    await made[0].aclose()


def test_every_standard_error_of_langchain_has_a_class_for_the_aggregator() -> None:
    found = [
        kind
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, ModelError) and kind is not ModelError
    ]
    assert len(found) > 8
    for kind in found:
        error = errors.aggregator_failed([("a", {"kind": "x", "message": "y"}, kind("z"))], [])
        assert isinstance(error, kind), f"data/errors.py has no class for {kind.__name__}, which is new in langchain-core"
        assert type(error).__name__ == f"Aggregator{kind.__name__}"
        assert getattr(importlib.import_module(type(error).__module__), type(error).__name__) is type(error)


def test_the_options_of_an_ollama_model_are_those_that_it_would_send() -> None:
    ollama = pytest.importorskip("langchain_ollama", reason="the providers' packages are not among the oldest dependencies")
    model: Any = ollama.ChatOllama(model="a", num_ctx=2048, temperature=0.5, top_k=3, stop=["END"], repeat_penalty=1.1)
    assert _compat.ollama_options(model) == model._chat_params([])["options"], "ChatOllama has other options than before"
