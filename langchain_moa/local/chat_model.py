"""A chat model that runs on this machine."""

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

# llama.cpp enforces a schema for any model. Whether a model can call tools is known only for the models of the catalog.
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

# Connections on the loopback interface are not encrypted, and loading the machine's certificates would take most of a call's
# time.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _RepeatCounter:
    """Counts how often each of the latest questions was asked, so that each repetition gets a new seed."""

    _MOST = 1024

    def __init__(self) -> None:
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, question: str) -> int:
        """Count a question and return how often it was asked before."""
        with self._lock:
            before = self._asked.pop(question, 0)
            self._asked[question] = before + 1
            if len(self._asked) > self._MOST:
                self._asked.popitem(last=False)
            return before


_repeats = _RepeatCounter()


class ChatLocal(ChatOpenAI):
    """A `ChatOpenAI` whose model runs on this machine with llama.cpp.

    The model's server is a process that starts with the first call, listens on a random port of the loopback interface,
    requires a random key, and ends with this process. All instances of a model share it. Before a model of the catalog is
    loaded, the hash of its file is checked. A conversation and its answer can have 4,096 tokens together. The models of the
    catalog are very small: they show how a mixture works, not how good it can be. They cannot call tools, but support
    structured output.

    Attributes:
        model: The name of a model of the catalog, or the path of any `.gguf` file.
        temperature: Sampling temperature. Default: 0.3 for a model of the catalog, llama.cpp's own for a file.
        max_tokens: Maximum number of tokens in the answer. Default: 96 for a model of the catalog; for a file, as many as fit
            into the context.
        seed: Seed of the sampling. It is combined with the model, the conversation and the settings, so that different
            questions get different random numbers and a repeated call gets the same. A `seed` given at call time is sent to
            llama.cpp unchanged. Default: a new seed each time this process asks the same question, so that samples of one
            model differ, and two runs of a program get the same answers.

    Raises:
        PackageMissingError: llama.cpp is not installed; the message has the pip command.
        UnknownModelError: There is no such model; the message lists the models of the catalog.
        ModelMissingError: The file does not exist or is not a GGUF file; the message has the remedy.
        ChecksumError: At the first call: the file of a model of the catalog was changed after its download.
        ServerError: At the first call: llama.cpp cannot load the file.

    Example:
        ```python
        from langchain_moa.local import ChatLocal

        print(ChatLocal(model="smollm2-135m").invoke("What do bees make?").text)
        ```
    """

    # Each call makes its own HTTP client, so the model can be called on any event loop.
    any_loop: ClassVar[bool] = True

    # Declared under this name as well, since type checkers only see the alias in `ChatOpenAI`.
    max_tokens: int | None = None
    max_retries: int | None = 0
    stream_usage: bool | None = True
    # Requests receive nothing while they wait for a slot of the server; callers set their own time limits.
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
        # Older releases of langchain-openai read the key from the environment if it is not given.
        given["api_key"] = None
        if name not in CATALOG:
            # The full path is needed because langchain-openai would take `o1.gguf` for a model of OpenAI.
            return {"profile": _PROFILE, **given, "model": str(path)}
        return {"profile": _PROFILE_OF_CATALOG, **CATALOG[name].settings, **given, "model": name}

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Skip the validation of `ChatOpenAI`, which reads keys, addresses and proxies from the environment."""
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
        """Tokenize a text with the model's own tokenizer; starts the server."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with self._client(self._serve()) as client:
            return _tokens(client, text)

    @override
    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None, **kwargs: Any
    ) -> int:
        """Count the tokens of a conversation, as it is sent, with the model's own tokenizer; starts the server."""
        sent = convert_to_openai_messages(self._with_system(list(messages)))
        with self._client(self._serve()) as client:
            prompt = client.post(f"{_root(client)}/apply-template", cast_to=object, body={"messages": sent})
            return len(_tokens(client, prompt["prompt"], special=True))  # type: ignore[index]  # an object of JSON

    def prepare(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[list[BaseMessage], list[str] | None, dict[str, Any]]:
        """Return the arguments of a call with the model's defaults added; values that you set override them.

        Args:
            messages: The conversation.
            stop: Stop sequences of the call.
            kwargs: The other keyword arguments of the call.

        Returns:
            The messages with the model's system message, the stop sequences with the model's own, and the keyword arguments
            with the model's sampling parameters and a seed.
        """
        sent = self._with_system(messages)
        stop = stop if stop is not None else kwargs.pop("stop", None)
        if (model := self._in_catalog) is not None:
            # With a schema, llama.cpp ends the answer itself, and the JSON can contain empty lines.
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
        # The same seed for all questions would make the same random draw for the first token of every answer.
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
        # Ignore the environment's proxies, which cannot reach the loopback interface.
        http_client = openai.DefaultHttpxClient(trust_env=False, verify=_NO_CERTIFICATES)
        return openai.OpenAI(**self._client_settings(server), http_client=http_client)

    @contextmanager
    def _connected(self) -> Iterator[Self]:
        # Making a client is cheap, and a model without a client can be copied, pickled, forked, and used by many threads and
        # event loops.
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
            # The run manager is not passed on, since this method reports each chunk to the handlers itself.
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
    """Return an answer, or its first chunk that has text, without leading whitespace.

    A base model continues `Answer:` with a space, which would otherwise be the first character of every reference.

    Args:
        generation: The answer or chunk; it is not modified.
    """
    content = generation.message.content
    if not isinstance(content, str) or content == content.lstrip():
        return generation
    message = generation.message.model_copy(update={"content": content.lstrip()})
    # A new object is needed, since a generation stores its text in addition to its message.
    return type(generation)(message=message, generation_info=generation.generation_info)


@contextmanager
def _overflow_explained() -> Iterator[None]:
    """Turn llama.cpp's error for a conversation that is too long into the type that LangChain's middleware handles."""
    try:
        yield
    except openai.BadRequestError as error:
        body = error.body if isinstance(error.body, dict) else {}
        if body.get("type") != "exceed_context_size_error":
            raise
        msg = (
            f"the conversation has {body.get('n_prompt_tokens')} tokens, but the context window has only {body.get('n_ctx')}, "
            "including the answer; shorten the conversation, for example with `langchain_core.messages.trim_messages`"
        )
        raise OpenAIContextOverflowError(msg, response=error.response, body=error.body) from error


def _root(client: openai.OpenAI) -> str:
    return str(client.base_url).rstrip("/").removesuffix("/v1")


def _tokens(client: openai.OpenAI, text: str, *, special: bool = False) -> list[int]:
    """Return the tokens of a text; `special` adds the token that begins a conversation, if the model has one."""
    body = {"content": text, "add_special": special}
    answer: Any = client.post(f"{_root(client)}/tokenize", cast_to=object, body=body)
    return list(answer["tokens"])
