"""A chat model on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import ssl
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import openai
from langchain_core.language_models.model_profile import ModelProfile
from langchain_openai import ChatOpenAI
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from langchain_moa.local.catalog import CATALOG, LocalModel
from langchain_moa.local.errors import PackageMissingError
from langchain_moa.local.loading import aloaded
from langchain_moa.local.location import path_of
from langchain_moa.local.opening import opened
from langchain_moa.local.overflow import explained
from langchain_moa.local.repetition import Repetitions
from langchain_moa.local.server import CONTEXT, Server, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

_repetitions = Repetitions()

_SEEDS = 0x7FFFFFFF

# llama.cpp holds any model to a schema; whether one can call tools is known of the catalog's only.
_PROFILE = ModelProfile(max_input_tokens=CONTEXT, structured_output=True)
_PROFILE_OF_CATALOGUED = ModelProfile(
    max_input_tokens=CONTEXT,
    structured_output=True,
    tool_calling=False,
    image_inputs=False,
    audio_inputs=False,
    pdf_inputs=False,
    video_inputs=False,
)

# Nothing on the loopback interface is encrypted; reading the machine's certificates would take longer than all else here.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class ChatLocal(ChatOpenAI):
    """A model that runs on this machine by llama.cpp; a `ChatOpenAI` in every other way.

    Its server is a process that starts with the first call, listens on a random port of the loopback interface, asks for a
    random key, and ends with this process; all instances of one model share it. A conversation and its answer have 4,096
    tokens. The models of the catalog are very small: they show that a mixture works, not how good one is. They cannot call
    tools; structured output works.

    Args:
        model: The name of a model of the catalog, or the path of any `.gguf` file.
        temperature: Default: 0.3 for a model of the catalog, llama.cpp's own for a file.
        max_tokens: Default: 96 for a model of the catalog, as many as there is room for with a file.
        seed: Which of the possible answers: the same model, conversation, settings and seed are given the same random
            numbers every time. A `seed` given at call time goes to llama.cpp as it is. Default: another one each time that
            this process asks the same question, so that samples of one model differ, and two runs of a program are alike.

    Raises:
        PackageMissingError: llama.cpp is not installed; the text has the pip command.
        UnknownModelError: There is no such model; the text has those that there are.
        ModelMissingError: Its file is not here, or is no model; the text names the remedy.

    Example:
        ```python
        from langchain_moa.local import ChatLocal

        print(ChatLocal(model="smollm2-135m").invoke("What do bees make?").text)
        ```
    """

    # It holds no HTTP client: one is made for each call.
    any_loop: ClassVar[bool] = True

    # By its own name, and not by that of OpenAI's protocol only, which type checkers would insist on.
    max_tokens: int | None = None
    max_retries: int | None = 0
    stream_usage: bool | None = True
    # Requests queue for a slot without a word from the server; how long is for the caller to say.
    stream_chunk_timeout: float | None = Field(default=None, exclude=True)
    use_responses_api: bool | None = False

    # Of the copy that one call is made with: whether something of its answer is out.
    _begun: bool = PrivateAttr(default=False)

    @model_validator(mode="before")
    @classmethod
    def _locate(cls, values: dict[str, Any]) -> dict[str, Any]:
        if importlib.util.find_spec("xllamacpp") is None:
            msg = 'local models need llama.cpp; install it with: pip install "langchain-moa[local]"'
            raise PackageMissingError(msg)
        given = dict(values)
        name = given.pop("model_name", None) or given.pop("model", None)
        path = path_of(name)
        if "max_completion_tokens" in given:
            given["max_tokens"] = given.pop("max_completion_tokens")
        # Older releases of langchain-openai take it from the environment if it is not given.
        given["api_key"] = None
        if name not in CATALOG:
            # A name as this one is what langchain-openai would read a model of OpenAI's from.
            return {**given, "model": str(path)}
        return {**CATALOG[name].settings, **given, "model": name}

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Leave out what `ChatOpenAI` does here: no key, address or proxy of the environment is for this model."""
        return self

    @property
    def path(self) -> Path:
        """The model's file."""
        return path_of(self.model_name)

    @property
    def _catalogued(self) -> LocalModel | None:
        return CATALOG.get(self.model_name)

    @property
    @override
    def _llm_type(self) -> str:
        return "local"

    @property
    @override
    def lc_secrets(self) -> dict[str, str]:
        return {}

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return ["langchain_moa", "local"]

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "local"
        return params

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        return ModelProfile(**(_PROFILE if self._catalogued is None else _PROFILE_OF_CATALOGUED))

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """Return the model's own tokens of a text; starts the server."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with self._client(self._serve()) as client:
            return _tokens(client, text)

    @override
    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None, **kwargs: Any
    ) -> int:
        """Return how many tokens of the model's own a conversation has, as it is sent; starts the server."""
        payload = {"messages": self._get_request_payload(list(messages))["messages"]}
        with self._client(self._serve()) as client:
            prompt = client.post(f"{_root(client)}/apply-template", cast_to=object, body=payload)
            return len(_tokens(client, prompt["prompt"], special=True))  # type: ignore[index]  # an object of JSON

    @override
    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        if (model := self._catalogued) is not None:
            _adapt(payload, model)
        if kwargs.get("seed") is None:
            payload["seed"] = self._seed_of(payload)
        return payload

    @override
    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        if self._catalogued is not None:
            result.generations = [opened(generation) for generation in result.generations]
        return result

    @override
    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        # Here and not behind the stream, since handlers are told of a token before it is out.
        generation = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if generation is not None and self._catalogued is not None and not self._begun:
            generation = opened(generation)
            self._begun = bool(generation.text)
        return generation

    def _seed_of(self, payload: dict[str, Any]) -> int:
        # One seed for all would be the same stroke of luck for every question, and mostly a bad one for the first word.
        drawn = [payload.get(name) for name in ("model", "messages", "temperature", "top_p", "max_completion_tokens")]
        question = json.dumps(drawn, default=str, sort_keys=True)
        text = f"{question} {_repetitions.count(question) if self.seed is None else self.seed}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & _SEEDS

    def _serve(self) -> Server:
        model = self._catalogued
        template = model.template if model is not None else None
        return serve(self.path, name=self.model_name, template=template, small=model is not None)

    def _client_settings(self, server: Server) -> dict[str, Any]:
        settings = {
            "base_url": f"{server.address}/v1",
            "api_key": server.key,
            "timeout": self.request_timeout,
            "default_headers": self.default_headers,
            "default_query": self.default_query,
        }
        return settings if self.max_retries is None else {**settings, "max_retries": self.max_retries}

    def _client(self, server: Server) -> openai.OpenAI:
        # No proxy of the user's leads to the loopback interface.
        http_client = openai.DefaultHttpxClient(trust_env=False, verify=_NO_CERTIFICATES)
        return openai.OpenAI(**self._client_settings(server), http_client=http_client)

    @contextmanager
    def _connected(self) -> Iterator[Self]:
        # A client costs next to nothing, and a model that holds none is plain data: it can be copied, pickled and forked, and
        # used by many threads and event loops.
        with self._client(self._serve()) as client, explained():
            yield self.model_copy(update={"root_client": client, "client": client.chat.completions})

    @asynccontextmanager
    async def _aconnected(self) -> AsyncIterator[Self]:
        # Loading a model takes a second or more, in which the loop has other things to do.
        server = await aloaded(self._serve)
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False, verify=_NO_CERTIFICATES)
        async with openai.AsyncOpenAI(**self._client_settings(server), http_client=http_client) as client:
            with explained():
                yield self.model_copy(update={"root_async_client": client, "async_client": client.chat.completions})

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        with self._connected() as model:
            return super(ChatLocal, model)._generate(messages, *args, **kwargs)

    @override
    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        async with self._aconnected() as model:
            return await super(ChatLocal, model)._agenerate(messages, *args, **kwargs)

    @override
    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with self._connected() as model:
            yield from super(ChatLocal, model)._stream(*args, **kwargs)

    @override
    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async with self._aconnected() as model:
            async for chunk in super(ChatLocal, model)._astream(*args, **kwargs):
                yield chunk


def _adapt(payload: dict[str, Any], model: LocalModel) -> None:
    """Give a request what the model needs, where the user has not said otherwise."""
    messages = payload["messages"]
    if model.system and not any(message["role"] in {"system", "developer"} for message in messages):
        payload["messages"] = [{"role": "system", "content": model.system}, *messages]
    # A schema says itself where an answer ends; an empty line in its JSON is not the end.
    if model.stop and "response_format" not in payload:
        given = payload.get("stop") or []
        payload["stop"] = [*([given] if isinstance(given, str) else given), *model.stop]
    payload["extra_body"] = {**model.sampling, **(payload.get("extra_body") or {})}


def _root(client: openai.OpenAI) -> str:
    return str(client.base_url).rstrip("/").removesuffix("/v1")


def _tokens(client: openai.OpenAI, text: str, *, special: bool = False) -> list[int]:
    """Return the tokens of a text; `special` adds the one that begins a conversation, if the model has such."""
    body = {"content": text, "add_special": special}
    answer: Any = client.post(f"{_root(client)}/tokenize", cast_to=object, body=body)
    return list(answer["tokens"])
