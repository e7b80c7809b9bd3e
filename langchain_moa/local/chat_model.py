"""A chat model on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import ssl
import threading
from collections import OrderedDict
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import openai
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import SystemMessage
from langchain_core.messages.utils import convert_to_openai_messages
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import OpenAIContextOverflowError
from pydantic import Field, model_validator
from typing_extensions import override

from langchain_moa.local.catalog import CATALOG, LocalModel, PackageMissingError
from langchain_moa.local.download import path_of, verify
from langchain_moa.local.server import CONTEXT, Server, aload, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    G = TypeVar("G", bound=ChatGeneration)

_SEEDS = 0x7FFFFFFF

# llama.cpp holds any model to a schema; which models can call tools is known for those of the catalog only.
_PROFILE = ModelProfile(max_input_tokens=CONTEXT, structured_output=True)
_PROFILE_OF_CATALOG = ModelProfile(
    max_input_tokens=CONTEXT,
    structured_output=True,
    tool_calling=False,
    image_inputs=False,
    audio_inputs=False,
    pdf_inputs=False,
    video_inputs=False,
)

# Nothing on the loopback interface is encrypted, and reading the machine's certificates would take most of a call's time.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _RepeatCounter:
    """Counts how often each of the latest questions was asked, so that each time another seed is used."""

    _MOST = 1024

    def __init__(self) -> None:
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, question: str) -> int:
        """Count a question, and return how often it was asked before."""
        with self._lock:
            before = self._asked.pop(question, 0)
            self._asked[question] = before + 1
            if len(self._asked) > self._MOST:
                self._asked.popitem(last=False)
            return before


_repeats = _RepeatCounter()


class ChatLocal(ChatOpenAI):
    """A model that runs on this machine with llama.cpp; in every other way a `ChatOpenAI`.

    Its server is a process that starts with the first call, listens on a random port of the loopback interface, requires a
    random key, and ends with this process. All instances of one model share it. Before a model of the catalog is loaded, its
    file is checked against its hash. A conversation and its answer may have 4,096 tokens together. The models of the catalog
    are very small: they show how a mixture works, not how good one can be. They cannot call tools; structured output works.

    Attributes:
        model: The name of a model of the catalog, or the path of any `.gguf` file.
        temperature: Default: 0.3 for a model of the catalog, llama.cpp's own for a file.
        max_tokens: Default: 96 for a model of the catalog; for a file, as many as fit into the context.
        seed: Selects one of the possible answers: the same model, conversation, settings and seed give the same random
            numbers. A `seed` given at call time is sent to llama.cpp as it is. Default: a new one each time this process
            asks the same question, so that samples of one model differ and two runs of a program are alike.

    Raises:
        PackageMissingError: llama.cpp is not installed; the message has the pip command.
        UnknownModelError: There is no such model; the message lists those of the catalog.
        ModelMissingError: The file is missing or is not a GGUF file; the message names the remedy.
        ChecksumError: At the first call: the file of a model of the catalog was changed after its download.
        ServerError: At the first call: llama.cpp cannot load the file.

    Example:
        ```python
        from langchain_moa.local import ChatLocal

        print(ChatLocal(model="smollm2-135m").invoke("What do bees make?").text)
        ```
    """

    # It holds no HTTP client, since each call makes its own; so it can be called on any event loop.
    any_loop: ClassVar[bool] = True

    # Under this name too, since type checkers know only the alias of `ChatOpenAI`.
    max_tokens: int | None = None
    max_retries: int | None = 0
    stream_usage: bool | None = True
    # Requests wait for a slot of the server without receiving anything; callers set their own time limits.
    stream_chunk_timeout: float | None = Field(default=None, exclude=True)
    use_responses_api: bool | None = False

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
        # Older releases of langchain-openai read it from the environment if it is not given.
        given["api_key"] = None
        if name not in CATALOG:
            # The full path: langchain-openai would take a name such as `o1.gguf` for a model of OpenAI's.
            return {"profile": _PROFILE, **given, "model": str(path)}
        return {"profile": _PROFILE_OF_CATALOG, **CATALOG[name].settings, **given, "model": name}

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Skip what `ChatOpenAI` does here: keys, addresses and proxies of the environment are not for this model."""
        return self

    @property
    def path(self) -> Path:
        """The model's file."""
        return path_of(self.model_name)

    @property
    def _in_catalog(self) -> LocalModel | None:
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

    # LangChain's only way to tell tracers which provider a model has; `ChatOpenAI` overrides it in the same way.
    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "local"
        return params

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
        """Return how many of the model's own tokens a conversation has, as it is sent; starts the server."""
        sent = convert_to_openai_messages(self._with_system(list(messages)))
        with self._client(self._serve()) as client:
            prompt = client.post(f"{_root(client)}/apply-template", cast_to=object, body={"messages": sent})
            return len(_tokens(client, prompt["prompt"], special=True))  # type: ignore[index]  # an object of JSON

    def prepare(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[list[BaseMessage], list[str] | None, dict[str, Any]]:
        """Return the arguments of a call with the model's own needs added, except where you set them yourself.

        Args:
            messages: The conversation.
            stop: Stop sequences of the call.
            kwargs: The other keyword arguments of the call.

        Returns:
            The messages with the model's system message, the stop sequences with the model's own, and the arguments with its
            sampling parameters and a seed.
        """
        sent = self._with_system(messages)
        stop = stop if stop is not None else kwargs.pop("stop", None)
        if (model := self._in_catalog) is not None:
            # A schema ends its answers itself, and an empty line inside its JSON is not the end.
            if model.stop and "response_format" not in kwargs:
                given = stop if stop is not None else self.stop
                stop = [*([given] if isinstance(given, str) else given or ()), *model.stop]
            extra = kwargs.get("extra_body", self.extra_body)
            kwargs = {**kwargs, "extra_body": {**model.sampling, **(extra or {})}}
        if kwargs.get("seed") is None:
            kwargs = {**kwargs, "seed": self._seed_for(sent, kwargs)}
        return sent, stop, kwargs

    def _with_system(self, messages: list[BaseMessage]) -> list[BaseMessage]:
        model = self._in_catalog
        if model is None or not model.system or any(message.type == "system" for message in messages):
            return messages
        return [SystemMessage(model.system), *messages]

    def _seed_for(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> int:
        # One seed for every question would make the same random draw for each first token.
        settings = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens, **kwargs}
        drawn = [
            self.model_name,
            convert_to_openai_messages(messages),
            settings["temperature"],
            settings["top_p"],
            kwargs.get("max_completion_tokens", settings["max_tokens"]),
        ]
        question = json.dumps(drawn, default=str, sort_keys=True)
        text = f"{question} {_repeats.count(question) if self.seed is None else self.seed}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & _SEEDS

    def _serve(self) -> Server:
        model = self._in_catalog
        if model is None:
            return serve(self.path, name=self.model_name)
        return serve(self.path, name=model.name, template=model.template, small=True, check=lambda: verify(model))

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
        # The user's proxies do not lead to the loopback interface.
        http_client = openai.DefaultHttpxClient(trust_env=False, verify=_NO_CERTIFICATES)
        return openai.OpenAI(**self._client_settings(server), http_client=http_client)

    @contextmanager
    def _connected(self) -> Iterator[Self]:
        # A client costs next to nothing, and a model that holds none can be copied, pickled and forked, and used by many
        # threads and event loops.
        with self._client(self._serve()) as client, _overflow_explained():
            yield self.model_copy(update={"root_client": client, "client": client.chat.completions})

    @asynccontextmanager
    async def _aconnected(self) -> AsyncIterator[Self]:
        server = await aload(self._serve)
        http_client = openai.DefaultAsyncHttpxClient(trust_env=False, verify=_NO_CERTIFICATES)
        async with openai.AsyncOpenAI(**self._client_settings(server), http_client=http_client) as client:
            with _overflow_explained():
                yield self.model_copy(update={"root_async_client": client, "async_client": client.chat.completions})

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        messages, stop, kwargs = self.prepare(messages, stop, kwargs)
        with self._connected() as model:
            return self._stripped(super(ChatLocal, model)._generate(messages, stop, run_manager, **kwargs))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        messages, stop, kwargs = self.prepare(messages, stop, kwargs)
        async with self._aconnected() as model:
            return self._stripped(await super(ChatLocal, model)._agenerate(messages, stop, run_manager, **kwargs))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        messages, stop, kwargs = self.prepare(messages, stop, kwargs)
        begun = self._in_catalog is None
        with self._connected() as model:
            # Without the run manager: handlers are told of each chunk as it leaves this method.
            for chunk in super(ChatLocal, model)._stream(messages, stop, **kwargs):
                stripped = chunk if begun else strip_start(chunk)
                begun = begun or bool(stripped.text)
                if run_manager is not None:
                    run_manager.on_llm_new_token(stripped.text, chunk=stripped)
                yield stripped

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        messages, stop, kwargs = self.prepare(messages, stop, kwargs)
        begun = self._in_catalog is None
        async with self._aconnected() as model:
            async for chunk in super(ChatLocal, model)._astream(messages, stop, **kwargs):
                stripped = chunk if begun else strip_start(chunk)
                begun = begun or bool(stripped.text)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(stripped.text, chunk=stripped)
                yield stripped

    def _stripped(self, result: ChatResult) -> ChatResult:
        if self._in_catalog is None:
            return result
        return result.model_copy(update={"generations": [strip_start(generation) for generation in result.generations]})


def strip_start(generation: G) -> G:
    """Return an answer, or the first chunk of one that has text, without the white space at its start.

    A base model continues `Answer:` with a space, which would otherwise be the first character of every reference.

    Args:
        generation: What the model has written; it is not changed.
    """
    content = generation.message.content
    if not isinstance(content, str) or content == content.lstrip():
        return generation
    message = generation.message.model_copy(update={"content": content.lstrip()})
    # A new object, since a generation keeps its text beside its message.
    return type(generation)(message=message, generation_info=generation.generation_info)


@contextmanager
def _overflow_explained() -> Iterator[None]:
    """Explain llama.cpp's error for a conversation that is too long, as the type that LangChain's middleware knows."""
    try:
        yield
    except openai.BadRequestError as error:
        body = error.body if isinstance(error.body, dict) else {}
        if body.get("type") != "exceed_context_size_error":
            raise
        msg = (
            f"the conversation has {body.get('n_prompt_tokens')} tokens, and with the answer there is room for "
            f"{body.get('n_ctx')}; shorten it, with `langchain_core.messages.trim_messages` for example"
        )
        raise OpenAIContextOverflowError(msg, response=error.response, body=error.body) from error


def _root(client: openai.OpenAI) -> str:
    return str(client.base_url).rstrip("/").removesuffix("/v1")


def _tokens(client: openai.OpenAI, text: str, *, special: bool = False) -> list[int]:
    """Return the tokens of a text; `special` adds the one that begins a conversation, if the model has one."""
    body = {"content": text, "add_special": special}
    answer: Any = client.post(f"{_root(client)}/tokenize", cast_to=object, body=body)
    return list(answer["tokens"])
