"""A chat model on this machine."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import ssl
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
from langchain_core.language_models.model_profile import ModelProfile
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr, model_validator
from typing_extensions import override

from langchain_moa.local.catalog import CATALOG, LocalModel
from langchain_moa.local.pull import cache_dir
from langchain_moa.local.server import CONTEXT, Server, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

_DEFAULTS: dict[str, Any] = {"temperature": 0.4, "max_tokens": 128, "timeout": 120.0, "max_retries": 0, "stream_usage": True}

# Nothing is served here until the model is asked; an address and a key are known from then on.
_NOWHERE = "http://127.0.0.1:9/v1"
_NO_KEY = SecretStr("none yet")

# What the least likely words are held to: a model this small loses its thread when one of them slips in.
_MIN_P = 0.1

# A kept connection would belong to the event loop that opened it; on the loopback interface a new one costs nothing.
_LIMITS = httpx.Limits(max_keepalive_connections=0)


class ChatLocal(ChatOpenAI):
    """A small model that runs in this process, on the CPU, by llama.cpp; a `ChatOpenAI` in every other way.

    Its server starts with the first call, on a random port of the loopback interface and with a random key, and ends with
    the process; all instances of one model share it. The models that come with the package are very small: they show that
    a mixture works, not how good one is. They cannot call tools; structured output works.

    Args:
        model: The name of a model of the catalog, or the path of a GGUF file.
        temperature: Default: 0.4.
        max_tokens: Default: 128.
        seed: Makes answers repeatable. It is mixed with the conversation, so that one seed is not one and the same
            stroke of luck for every question. Default: at random.

    Raises:
        ImportError: llama.cpp is not installed; the text has the pip command.
        ValueError: There is no such model, or it has not been fetched; the text names the remedy.

    Example:
        ```python
        from langchain_moa.local import ChatLocal

        print(ChatLocal(model="smollm2-135m").invoke("What do bees make?").text)
        ```
    """

    _server: Server | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: Any) -> Any:
        name = values.get("model") or values.get("model_name")
        _path_of(name)
        if importlib.util.find_spec("xllamacpp") is None:
            msg = 'local models need llama.cpp; install it with: pip install "langchain-moa[local]"'
            raise ImportError(msg)
        fixed = {"base_url": _NOWHERE, "api_key": _NO_KEY, "http_client": _client(), "http_async_client": _async_client()}
        extra = {"extra_body": {"min_p": _MIN_P, **(values.get("extra_body") or {})}}
        return {**_DEFAULTS, **values, **fixed, **extra}

    @property
    def path(self) -> Path:
        """The model's file."""
        return _path_of(self.model_name)

    @property
    def _catalogued(self) -> LocalModel | None:
        return CATALOG.get(self.model_name)

    @property
    @override
    def _llm_type(self) -> str:
        return "local"

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "local"
        return params

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        return ModelProfile(
            max_input_tokens=CONTEXT,
            tool_calling=False,
            structured_output=True,
            image_inputs=False,
            audio_inputs=False,
            pdf_inputs=False,
            video_inputs=False,
        )

    @override
    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        model = self._catalogued
        messages = payload["messages"]
        if model is not None and model.system and not any(message["role"] == "system" for message in messages):
            payload["messages"] = messages = [{"role": "system", "content": model.system}, *messages]
        if model is not None and model.stop:
            given = payload.get("stop") or []
            payload["stop"] = [*([given] if isinstance(given, str) else given), *model.stop]
        if payload.get("seed") is not None:
            payload["seed"] = (zlib.crc32(json.dumps(messages, default=str).encode()) + payload["seed"]) & 0x7FFFFFFF
        return payload

    def _connect(self) -> None:
        """Start the server, or find it running, and point the clients at it."""
        if self._server is not None:
            return
        model = self._catalogued
        server = serve(self.path, name=self.model_name, template=model.template if model is not None else None)
        self.root_client = self.root_client.with_options(base_url=server.url, api_key=server.key)
        self.root_async_client = self.root_async_client.with_options(base_url=server.url, api_key=server.key)
        self.client = self.root_client.chat.completions
        self.async_client = self.root_async_client.chat.completions
        self._server = server

    async def _aconnect(self) -> None:
        if self._server is None:
            # Loading a model takes a second, in which the loop has other things to do.
            await asyncio.to_thread(self._connect)

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self._connect()
        return super()._generate(messages, *args, **kwargs)

    @override
    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await self._aconnect()
        return await super()._agenerate(messages, *args, **kwargs)

    @override
    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self._connect()
        yield from super()._stream(*args, **kwargs)

    @override
    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        await self._aconnect()
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Make another one: clients cannot be copied, and need not be."""
        return type(self)(**self._settings())

    def __reduce__(self) -> Any:
        """Pickle what it was made of; the server is found, or started, where it is unpickled."""
        return _made, (self._settings(),)

    def _settings(self) -> dict[str, Any]:
        apart = {"openai_api_key", "openai_api_base", "http_client", "http_async_client", "client", "async_client"}
        kept = self.model_fields_set - apart - {"root_client", "root_async_client"}
        return {type(self).model_fields[name].alias or name: getattr(self, name) for name in sorted(kept)}


def _made(settings: dict[str, Any]) -> ChatLocal:
    return ChatLocal(**settings)


def _path_of(name: Any) -> Path:
    """Return a model's file.

    Raises:
        ValueError: There is no such model, or no such file.
    """
    if not isinstance(name, str) or not name:
        msg = f"model is missing; known local models are {', '.join(CATALOG)}, or give the path of a .gguf file"
        raise ValueError(msg)
    if name in CATALOG:
        path = cache_dir() / CATALOG[name].file
        if not path.is_file():
            msg = f"the local model {name!r} is not here yet; fetch it with: langchain-moa models pull {name}"
            raise ValueError(msg)
        return path
    path = Path(name).expanduser()
    if path.suffix.lower() != ".gguf":
        msg = f"unknown local model {name!r}; known are {', '.join(CATALOG)}, or give the path of a .gguf file"
        raise ValueError(msg)
    if not path.is_file():
        msg = f"there is no file {str(path)!r}"
        raise ValueError(msg)
    return path.resolve()


@cache
def _client() -> httpx.Client:
    return httpx.Client(
        trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), limits=_LIMITS, timeout=_DEFAULTS["timeout"]
    )


@cache
def _async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), limits=_LIMITS, timeout=_DEFAULTS["timeout"]
    )


def _client_settings() -> dict[str, Any]:
    # No proxy of the user's leads to this process, and loading certificates takes longer than a short answer.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {"trust_env": False, "verify": context, "limits": _LIMITS, "timeout": _DEFAULTS["timeout"]}
