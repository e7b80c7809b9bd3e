from __future__ import annotations

import copy
import importlib.util
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from pydantic import BaseModel

from langchain_moa import Mixture
from langchain_moa.local import CATALOG, ChatLocal, LocalModelError, ModelMissingError, PackageMissingError, UnknownModelError
from langchain_moa.local.chat_model import strip_start

if TYPE_CHECKING:
    from pathlib import Path

SMOLLM, GEMMA = CATALOG["smollm2-135m"], CATALOG["gemma3-270m"]


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(*_: object, **__: object) -> None:
        pytest.fail("a server was started")

    monkeypatch.setattr("langchain_moa.local.chat_model.serve", serve)


def payload(model: ChatLocal, *messages: Any, **settings: Any) -> dict[str, Any]:
    """Return the request that a call sends."""
    stop = settings.pop("stop", None)
    sent, stop, kwargs = model.prepare(list(messages) or [HumanMessage("Why?")], stop, settings)
    return model._get_request_payload(sent, stop=stop, **kwargs)


def test_without_llama_cpp_the_error_has_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PackageMissingError, match=r'pip install "langchain-moa\[local\]"') as caught:
        ChatLocal(model="smollm2-135m")
    assert isinstance(caught.value, ImportError)


def test_without_llama_cpp_a_mixture_says_of_whom_and_keeps_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    said = "^proposers: item 1: cannot make the model 'local:smollm2-135m': local models need llama.cpp; "
    with pytest.raises(PackageMissingError, match=said):
        Mixture(proposers=["local:smollm2-135m"], aggregator="local:smollm2-135m")


@pytest.mark.parametrize("name", ["gpt-7", "", None, 7, "models/gpt-7.bin"])
def test_an_unknown_model_is_answered_with_the_known_ones(name: Any, pulled: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"choose one of: smollm2-135m, gemma3-270m, or give the path of a \.gguf file"):
        ChatLocal(model=name)


def test_a_model_that_was_not_fetched_has_the_command_that_does(llama: None) -> None:
    with pytest.raises(ModelMissingError, match=r"langchain-moa models pull gemma3-270m$") as caught:
        ChatLocal(model="gemma3-270m")
    assert isinstance(caught.value, LocalModelError)


def test_a_path_without_a_file_is_named(llama: None, tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"there is no file .*mine\.gguf"):
        ChatLocal(model=str(tmp_path / "mine.gguf"))


def test_a_file_that_is_no_model_is_refused(llama: None, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"<html>")
    with pytest.raises(ModelMissingError, match="is not a GGUF file"):
        ChatLocal(model=str(tmp_path / "mine.gguf"))


def test_a_file_of_the_users_is_known_by_its_full_path_and_left_as_it_is(
    llama: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name that langchain-openai would take for a model of OpenAI with special rules.
    path = tmp_path / "o1-codex.GGUF"
    path.write_bytes(b"GGUF...")
    monkeypatch.chdir(tmp_path)
    model = ChatLocal(model="o1-codex.GGUF")
    assert model.path == path
    sent = payload(model, SystemMessage("Be brief."), HumanMessage("Why?"))
    assert sent["messages"][0]["role"] == "system"
    assert not {"stop", "extra_body", "temperature", "max_completion_tokens"} & set(sent)
    assert "tool_calling" not in (model.profile or {})


def test_a_catalogued_model_has_its_settings_and_the_users_come_first(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m")
    assert {"temperature": model.temperature, "max_tokens": model.max_tokens} == dict(SMOLLM.settings)
    assert ChatLocal(model="smollm2-135m", temperature=0).temperature == 0
    assert ChatLocal(model="smollm2-135m", max_tokens=7).max_tokens == 7
    assert ChatLocal.model_validate({"model": "smollm2-135m", "max_completion_tokens": 8}).max_tokens == 8
    assert payload(ChatLocal(model="smollm2-135m", extra_body={"min_p": 0.5, "top_k": 3}))["extra_body"] == {
        "min_p": 0.5,
        "top_k": 3,
    }


def test_nothing_of_openais_environment_reaches_a_local_model(pulled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_PROXY", "OPENAI_ORG_ID"):
        monkeypatch.setenv(name, "http://elsewhere")
    model = ChatLocal(model="smollm2-135m")
    assert (model.openai_api_key, model.openai_api_base, model.openai_organization) == (None, None, None)
    assert model.lc_secrets == {}


def test_a_system_message_is_always_sent_and_the_users_is_kept(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m")
    conversation = [HumanMessage("Why?")]
    assert payload(model, *conversation)["messages"][0] == {"role": "system", "content": SMOLLM.system}
    assert conversation == [HumanMessage("Why?")]
    mine = payload(model, SystemMessage("Be rude."), *conversation)["messages"]
    assert [message["content"] for message in mine] == ["Be rude.", "Why?"]


def test_stop_words_are_added_to_those_of_the_model(pulled: Path) -> None:
    model = ChatLocal(model="gemma3-270m")
    assert payload(model)["stop"] == list(GEMMA.stop)
    assert payload(model, stop=["END"])["stop"] == ["END", *GEMMA.stop]
    assert payload(ChatLocal(model="gemma3-270m", stop_sequences="END"))["stop"] == ["END", *GEMMA.stop]


def test_an_empty_line_does_not_end_an_answer_that_has_a_schema(pulled: Path) -> None:
    class City(BaseModel):
        name: str

    assert "stop" not in payload(ChatLocal(model="gemma3-270m"), response_format=City)


def test_a_question_asked_again_is_another_sample(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m")
    asked = [payload(each, HumanMessage("Again?"))["seed"] for each in (model, model, ChatLocal(model="smollm2-135m"))]
    assert len(set(asked)) == 3


def test_seeds_are_repeatable_and_differ_with_the_question_the_sampling_and_the_models_seed(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m", seed=0)
    seeds = [
        payload(model, HumanMessage("Why?"))["seed"],
        payload(model, HumanMessage("How?"))["seed"],
        payload(model, HumanMessage("Why?"), temperature=0.9)["seed"],
        payload(ChatLocal(model="gemma3-270m", seed=0), HumanMessage("Why?"))["seed"],
        *(payload(ChatLocal(model="smollm2-135m", seed=seed), HumanMessage("Why?"))["seed"] for seed in (1, 2)),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert payload(ChatLocal(model="smollm2-135m", seed=0), HumanMessage("Why?"))["seed"] == seeds[0]


def test_a_seed_given_at_call_time_is_sent_as_it_is(pulled: Path) -> None:
    assert payload(ChatLocal(model="smollm2-135m", seed=1), seed=5)["seed"] == 5


def test_a_model_says_what_it_is(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m")
    assert model._llm_type == "local"
    assert model._get_ls_params()["ls_provider"] == "local"
    assert model._get_ls_params()["ls_model_name"] == "smollm2-135m"
    profile = model.profile or {}
    assert (profile["tool_calling"], profile["structured_output"], profile["max_input_tokens"]) == (False, True, 4096)


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")  # of `loads`
def test_a_model_can_be_pickled_copied_and_serialised(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m", seed=3)
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301  # our own bytes
    assert copy.deepcopy(model) == model
    text = dumps(model)
    assert loads(text, valid_namespaces=["langchain_moa"], allowed_objects=[ChatLocal]) == model


def test_an_instance_holds_no_client_and_no_key(pulled: Path) -> None:
    model = ChatLocal(model="smollm2-135m")
    assert [model.client, model.async_client, model.root_client, model.root_async_client] == [None] * 4


@pytest.mark.parametrize(
    ("text", "left"), [(" Paris is it. ", "Paris is it. "), ("\n\tParis", "Paris"), ("Paris", "Paris"), ("  ", ""), ("", "")]
)
def test_the_white_space_in_front_goes_and_all_else_stays(text: str, left: str) -> None:
    message = AIMessage(text, id="1", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})
    generation = strip_start(ChatGeneration(message=message, generation_info={"finish_reason": "stop"}))
    assert (generation.text, generation.message.content) == (left, left)
    assert generation.message == message.model_copy(update={"content": left})
    assert generation.generation_info == {"finish_reason": "stop"}
    assert message.content == text
    chunk = strip_start(ChatGenerationChunk(message=AIMessageChunk(content=text)))
    assert isinstance(chunk, ChatGenerationChunk)
    assert isinstance(chunk.message, AIMessageChunk)
    assert chunk.text == left


def test_content_in_blocks_is_left_alone() -> None:
    generation = ChatGeneration(message=AIMessage([{"type": "text", "text": " a"}]))
    assert strip_start(generation) is generation
